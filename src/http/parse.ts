import { z } from 'zod';
import { KatafleetError } from '../model/errors.ts';
import { faultsOf } from '../model/faults.ts';

/** Checks what a client sent. @throws request.invalid, naming each field at fault */
export function parse<T extends z.ZodType>(schema: T, given: unknown): z.output<T> {
  const parsed = schema.safeParse(given);
  if (parsed.success) return parsed.data;
  throw new KatafleetError('request.invalid', faultsOf(parsed.error));
}

/** `:name` in a path: a node's name of 63 characters at most, or with a machine's behind it; or a maintenance job's. */
export const NameInPath = z.object({ name: z.string().max(200) });
