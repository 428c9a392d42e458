import { z } from 'zod';

/** What lacks in values of one schema: its own fields that have a default, and fields whose values may lack some. */
interface Plan {
  own: readonly { key: string; fallback: () => unknown }[];
  inner: readonly { key: string; plan: Plan; list: boolean }[];
}

/**
 * Makes a function that gives fields their defaults, in place, where a value of before they were added lacks them. Nothing is
 * checked: it is for what katafleet itself wrote and keeps, such as the journal. It costs nothing where no field has a default, and
 * else one look at each object that may lack one: a result of 10,000 files is never walked for the sake of its steps.
 */
export function youngerFields(schema: z.ZodObject): <T extends object>(value: T) => T {
  let made: { plan: Plan | undefined } | undefined; // when it is first needed: a command that reads no record does not pay for it
  return (value) => {
    const { plan } = (made ??= { plan: planOf(schema) });
    if (plan) fill(value, plan);
    return value;
  };
}

function planOf(schema: z.ZodObject): Plan | undefined {
  const own: Plan['own'][number][] = [];
  const inner: Plan['inner'][number][] = [];
  for (const [key, field] of Object.entries(schema.shape) as [string, z.ZodType][]) {
    if (field instanceof z.ZodDefault || field instanceof z.ZodPrefault) own.push({ key, fallback: () => field.parse(undefined) });
    const bare = without(field);
    const element = bare instanceof z.ZodArray ? without(bare.element as z.ZodType) : undefined;
    const of = element ?? bare;
    const plan = of instanceof z.ZodObject ? planOf(of) : undefined;
    if (plan) inner.push({ key, plan, list: element !== undefined });
  }
  return own.length + inner.length > 0 ? { own, inner } : undefined;
}

/** The schema of a value that is there. */
function without(field: z.ZodType): z.ZodType {
  if (field instanceof z.ZodDefault || field instanceof z.ZodPrefault || field instanceof z.ZodOptional || field instanceof z.ZodReadonly)
    return without(field.unwrap() as z.ZodType);
  return field instanceof z.ZodExactOptional ? without(field.unwrap() as z.ZodType) : field;
}

function fill(value: unknown, plan: Plan): void {
  if (typeof value !== 'object' || value === null) return;
  const object = value as Record<string, unknown>;
  for (const { key, fallback } of plan.own) object[key] ??= fallback();
  for (const { key, plan: deeper, list } of plan.inner) {
    const at = object[key];
    if (!list) fill(at, deeper);
    else if (Array.isArray(at)) for (const each of at) fill(each, deeper);
  }
}
