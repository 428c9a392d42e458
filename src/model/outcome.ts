import { z } from 'zod';

/** How a step or a run ended. Whether output was cut is a flag of the result, see model/result.ts. */
export const Outcome = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('exited'), code: z.int() }),
  z.object({ kind: z.literal('signalled'), signal: z.int() }),
  z.object({ kind: z.literal('timed_out'), clock: z.enum(['wall', 'cpu']) }),
  z.object({ kind: z.literal('out_of_memory') }),
  /** Only if the sandbox's folders lie on a disk: on a tmpfs the program itself gets the error that there is no space. */
  z.object({ kind: z.literal('out_of_disk') }),
  z.object({ kind: z.literal('cancelled') }),
  z.object({ kind: z.literal('lost'), reason: z.string() }),
]);
export type Outcome = z.output<typeof Outcome>;

/** The kinds, in the order above. */
export const outcomeKinds: readonly Outcome['kind'][] = Outcome.options.map(({ shape }) => shape.kind.value);

/**
 * Reads an outcome. A record or an answer of a later release may have a kind that this one does not know: it is read as `lost`, with
 * that kind in its reason, so that the rest of the record stays readable.
 */
export const ReadOutcome = z.union([
  Outcome,
  z
    .object({ kind: z.string().max(100) })
    .refine(({ kind }) => !(outcomeKinds as readonly string[]).includes(kind), 'is not what this kind of outcome has')
    .transform(({ kind }): Outcome => ({ kind: 'lost', reason: `it ended in a way that this release does not know: ${kind}` })),
]);

/** Returns in words how a run ended. */
export function sayOutcome(outcome: Outcome): string {
  switch (outcome.kind) {
    case 'exited':
      return `exited with ${outcome.code}`;
    case 'signalled':
      return `killed by signal ${outcome.signal}`;
    case 'timed_out':
      return outcome.clock === 'wall' ? 'timed out' : 'used up its CPU time';
    case 'out_of_memory':
      return 'out of memory';
    case 'out_of_disk':
      return 'out of disk';
    case 'cancelled':
      return 'cancelled';
    case 'lost':
      return `lost: ${outcome.reason}`;
  }
}
