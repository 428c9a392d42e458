import { z } from 'zod';

/** The fields of a schema that a value may lack: its own fields with a default, and fields whose values may lack some. */
interface Plan {
  own: readonly { key: string; fallback: () => unknown }[];
  inner: readonly { key: string; plan: Plan; list: boolean }[];
}

/**
 * Makes a function that fills in, in place, the defaults of fields that a value lacks because an older release wrote it. It checks
 * nothing: it is for what katafleet itself wrote, such as the journal. It costs nothing if no field has a default, else one look at
 * each object that may lack one: the 10,000 files of a result are never visited for its steps.
 */
export function youngerFields(schema: z.ZodObject): <T extends object>(value: T) => T {
  let made: { plan: Plan | undefined } | undefined; // made when it is first needed: most commands read no record
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

/** Returns the schema of the value without what makes it optional. */
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
