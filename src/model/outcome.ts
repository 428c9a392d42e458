import { z } from 'zod';
import type { Light } from './lights.ts';

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

/** What a kind of outcome means to everything that must treat kinds differently. */
interface OutcomeFacts<O extends Outcome> {
  /** Says in words how it ended. */
  words(outcome: O): string;
  /** The exit code of `katafleet run`. A fixed one is above 123, apart from the codes of errors (model/errors.ts). */
  readonly exit: number | { of(outcome: O): number };
  /**
   * Whether a step that ended so may be followed by others whose outcome is then the run's. If not, the first step that ended so gives
   * the run's outcome.
   */
  readonly passes: boolean;
  /** The light of a run that ended so; `rules`: the image's rules give it. */
  readonly light: Light | 'rules';
  /** Whether the sandbox survived whole, so that it can serve its session's next run. */
  readonly reusable: boolean;
  /** Whether the sandbox's memory or disk was too small. Where katafleet fetched files, they do not fit. */
  readonly noSpace: boolean;
  /** Whether the command may have gone on and exited by itself; reports then add its exit code. */
  readonly exitsToo: boolean;
}

/**
 * All kinds of outcomes. A kind that is added to {@link Outcome} is a row here, and whatever decides by kind follows. Each row has every
 * member, without defaults: the compiler asks for each decision.
 */
const table: { readonly [K in Outcome['kind']]: OutcomeFacts<Extract<Outcome, { kind: K }>> } = {
  exited: {
    words: ({ code }) => `exited with ${code}`,
    exit: { of: ({ code }) => code },
    passes: true,
    light: 'rules',
    reusable: true,
    noSpace: false,
    exitsToo: false,
  },
  signalled: {
    words: ({ signal }) => `killed by signal ${signal}`,
    exit: { of: ({ signal }) => 128 + signal }, // as shells have it
    passes: false,
    light: 'amber',
    reusable: true,
    noSpace: false,
    exitsToo: false,
  },
  timed_out: {
    words: ({ clock }) => (clock === 'wall' ? 'timed out' : 'used up its CPU time'),
    exit: 124, // as timeout(1) has it
    passes: false,
    light: 'amber',
    reusable: true,
    noSpace: false,
    exitsToo: false,
  },
  out_of_memory: {
    words: () => 'out of memory',
    exit: 137, // as after SIGKILL, with which the kernel ends what takes too much
    passes: false,
    light: 'amber',
    reusable: false,
    noSpace: true,
    exitsToo: true,
  },
  out_of_disk: {
    words: () => 'out of disk',
    exit: 153, // as after SIGXFSZ, with which the kernel ends what writes too much
    passes: false,
    light: 'amber',
    reusable: false,
    noSpace: true,
    exitsToo: false,
  },
  cancelled: {
    words: () => 'cancelled',
    exit: 130, // as after Ctrl-C
    passes: false,
    light: 'amber',
    reusable: false,
    noSpace: false,
    exitsToo: false,
  },
  lost: {
    words: ({ reason }) => `lost: ${reason}`,
    exit: 125,
    passes: false,
    light: 'amber',
    reusable: false,
    noSpace: false,
    exitsToo: false,
  },
};

/** Returns what the outcome's kind means. Its members are methods, so that a row for one kind counts as one for any. */
export const outcomeFacts = ({ kind }: Pick<Outcome, 'kind'>): OutcomeFacts<Outcome> => table[kind];

/** Whether the command exited with 0. */
export const succeeded = (outcome: Outcome): boolean => outcome.kind === 'exited' && outcome.code === 0;

/** Returns in words how a run ended. */
export const sayOutcome = (outcome: Outcome): string => outcomeFacts(outcome).words(outcome);
