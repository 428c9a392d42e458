import { z } from 'zod';
import { messageOf } from '../model/errors.ts';
import { exactDuration, formatBytes, parseBytes, parseDuration } from '../model/quantity.ts';

/** Fields that are text for people: sizes, times, schedules. Each error says what was expected and what was given. */

const shown = (value: unknown): string => {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 57)}…` : text;
};

function inWords(
  what: string,
  example: string,
  parse: (text: string) => number,
  least: number,
  most: number,
  format: (value: number) => string,
) {
  return z
    .union([z.string(), z.number()], { error: (issue) => `expected ${what} such as ${example}, got ${shown(issue.input)}` })
    .transform((given, context): number => {
      let value: number;
      try {
        value = typeof given === 'number' ? given : parse(given);
      } catch (error) {
        context.addIssue({ code: 'custom', message: `expected ${what} such as ${example}, got ${shown(given)} (${messageOf(error)})` });
        return z.NEVER;
      }
      if (!Number.isInteger(value) || value < least || value > most) {
        context.addIssue({ code: 'custom', message: `expected ${what} from ${format(least)} to ${format(most)}, got ${shown(given)}` });
        return z.NEVER;
      }
      return value;
    });
}

/** Bytes: `512m`, or a number of bytes. */
export const size = (least: number, most: number) => inWords('a size', '512m', parseBytes, least, most, formatBytes);

/** Milliseconds: `10s`, or a number of ms. */
export const duration = (least: number, most: number) => inWords('a time', '10s', parseDuration, least, most, exactDuration);

/** A {@link duration}, or `off`, which gives undefined. `byItself` is the value of an absent field. */
export const durationOrOff = (least: number, most: number, byItself: number | 'off' = 'off') => {
  const time = duration(least, most);
  return z
    .unknown()
    .default(byItself)
    .transform((given, context): number | undefined => {
      if (given === 'off') return undefined;
      const parsed = time.safeParse(given);
      if (parsed.success) return parsed.data;
      context.addIssue({ code: 'custom', message: `${parsed.error.issues[0]?.message ?? ''}; or off` });
      return z.NEVER;
    });
};

/** A share from 0 to 1, written as `50%`. */
export const share = z
  .string({ error: (issue) => `expected a share such as 50%, got ${shown(issue.input)}` })
  .transform((given, context): number => {
    const percent = /^(\d{1,3}(?:\.\d+)?)\s*%$/.exec(given.trim())?.[1];
    if (percent !== undefined && Number(percent) <= 100) return Number(percent) / 100;
    context.addIssue({ code: 'custom', message: `expected a share from 0% to 100%, got ${shown(given)}` });
    return z.NEVER;
  });

/** Bytes, or a share of the machine's memory: `512m` or `10%`. */
export const reserve = z
  .union([z.string(), z.number()], { error: (issue) => `expected a size such as 512m or a share such as 10%, got ${shown(issue.input)}` })
  .transform((given, context): { bytes: number } | { share: number } => {
    const share = typeof given === 'string' ? /^(\d{1,2}(?:\.\d+)?)\s*%$/.exec(given.trim()) : null;
    if (share) return { share: Number(share[1]) / 100 };
    const bytes = size(0, 1024 ** 5).safeParse(given);
    if (bytes.success) return { bytes: bytes.data };
    context.addIssue({ code: 'custom', message: `expected a size such as 512m or a share from 0% to 99%, got ${shown(given)}` });
    return z.NEVER;
  });
