import { KatafleetError } from '../model/errors.ts';
import { type LimitName, limitNames, limitOf, callerLimits } from '../model/limits.ts';
import type { ProfileFields } from '../model/profile.ts';
import type { z } from 'zod';
import { duration, size } from './fields.ts';
import { nearest } from './nearest.ts';

/** A limit as the configuration takes it: sizes and times may be texts with a unit. */
export function limitField(name: LimitName): z.ZodType {
  const { kind, schema, min = 0, max = 0 } = limitOf(name);
  if (kind === 'size') return size(min, max).optional();
  return kind === 'time' ? duration(min, max).optional() : schema.optional();
}

/**
 * Reads limits of the form `NAME=VALUE`, each value as the configuration takes it. If a name comes twice, the last value counts.
 * @throws limits.invalid; for an unknown name, with the most similar name and all known ones
 */
export function parseLimits(texts: readonly string[]): z.output<typeof ProfileFields> {
  return Object.fromEntries(texts.map(parseLimit));
}

function parseLimit(text: string): [LimitName, unknown] {
  const at = text.indexOf('=');
  const name = (at < 0 ? text : text.slice(0, at)).trim();
  const value = at < 0 ? '' : text.slice(at + 1).trim();
  const known = limitNames.find((one) => one === name);
  if (known === undefined) {
    const near = nearest(name, callerLimits);
    throw new KatafleetError('limits.invalid', `there is no limit "${name}"${near === undefined ? '' : `; did you mean ${near}?`}`, {
      hint: `the limits are ${callerLimits.join(', ')}`,
    });
  }
  const { configured } = limitOf(known);
  if (configured !== undefined) {
    throw new KatafleetError('limits.invalid', `the limit ${name} can only be set in the configuration: ${configured}`, {
      hint: `set it in a profile of katafleet.yaml, and use --profile NAME`,
    });
  }
  if (value === '') throw new KatafleetError('limits.invalid', `expected ${name}=VALUE, got "${text}"`);
  const given = /^\d+(\.\d+)?$/.test(value) ? Number(value) : value;
  const parsed = limitField(known).safeParse(given);
  if (!parsed.success) throw new KatafleetError('limits.invalid', `${name}: ${parsed.error.issues[0]?.message ?? 'not a value'}`);
  return [known, parsed.data];
}
