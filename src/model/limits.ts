import { z } from 'zod';
import { day, GiB, KiB, MiB } from '../base/units.ts';

/**
 * Where a limit acts. `container`: it is fixed when the sandbox is created, so sandboxes that differ in it never share a pool.
 * `step`: the supervisor sets it for each step. `host`: katafleet enforces it when files come back.
 */
type LimitScope = 'container' | 'step' | 'host';

interface LimitFacts {
  at: LimitScope;
  /** What it bounds, for docs/config.md and for the help: one line of plain text. */
  what: string;
  /** What holds if no default is fixed, for docs/config.md. */
  otherwise?: string;
  /** Why only the configuration may give it. If absent, callers may give it too. */
  configured?: string;
  /** Whether a step may have its own value, which takes the place of the profile's. */
  ownOfStep?: true;
  /** Its place among EXEC's numbers, from 1, and its width in bits, if EXEC carries it. A place never changes. */
  exec?: { place: number; bits: 32 | 64 };
}
interface Ranged extends LimitFacts {
  min: number;
  max: number;
  default?: number;
}
/** Sizes are bytes, times are whole ms, counts are whole; numbers may have a fraction. */
type NumberKind = 'time' | 'size' | 'count' | 'number';

const ranged =
  <K extends NumberKind>(kind: K) =>
  <const L extends Ranged>(limit: L) => ({
    kind,
    schema: kind === 'number' ? z.number().min(limit.min).max(limit.max) : z.int().min(limit.min).max(limit.max),
    ...limit,
  });
const [time, size, count, number] = [ranged('time'), ranged('size'), ranged('count'), ranged('number')];

/**
 * Every limit of a run and of its sandbox. From this table follow the profile, what callers and the configuration may give, the keys of
 * pools, EXEC's fields, `katafleet run --limit` and the rows of docs/config.md. The defaults suit a kata: small files, a compile, a few
 * tests.
 */
export const limits = {
  // 16 MiB have room for the supervisor and a shell.
  memory: size({
    ...{ min: 16 * MiB, max: 1024 * GiB, default: 512 * MiB, at: 'container' },
    what: 'memory of the whole sandbox, its files included; without swap',
  }),
  cpus: number({ min: 0.05, max: 1024, default: 1, at: 'container', what: "CPUs' worth of time" }),
  pids: count({ min: 4, max: 32_768, default: 128, at: 'container', what: 'processes and threads at one time, the supervisor included' }),
  wallMs: time({
    ...{ min: 10, max: day, default: 10_000, at: 'step', ownOfStep: true, exec: { place: 1, bits: 32 } },
    what: 'time of one step',
  }),
  cpuMs: time({
    ...{ min: 0, max: day, default: 0, at: 'step', ownOfStep: true, exec: { place: 2, bits: 32 } },
    what: 'CPU time of one step; 0: no limit',
  }),
  stdout: size({
    ...{ min: 0, max: 64 * MiB, default: MiB, at: 'step', ownOfStep: true, exec: { place: 3, bits: 64 } },
    what: "bytes kept of the beginning of one step's output, and as many of its end, at most 64 KiB; the rest is counted and dropped",
  }),
  stderr: size({
    ...{ min: 0, max: 64 * MiB, default: MiB, at: 'step', ownOfStep: true, exec: { place: 4, bits: 64 } },
    what: "the same for one step's standard error",
  }),
  fileSize: size({
    ...{ min: 0, max: 64 * GiB, default: 256 * MiB, at: 'step', exec: { place: 5, bits: 64 } },
    what: 'largest file that the program may write (RLIMIT_FSIZE)',
  }),
  filesBack: count({
    ...{ min: 0, max: 100_000, default: 1_000, at: 'host' },
    what: 'most files that come back, and as many empty folders; their names have 8 MiB at most',
  }),
  fileBack: size({ min: 0, max: GiB, default: 16 * MiB, at: 'host', what: 'largest file that comes back' }),
  bytesBack: size({ min: 0, max: GiB, default: 64 * MiB, at: 'host', what: 'bytes of all files that come back' }),
  // EXEC's place 6 has no limit of a profile: see protocol/requests.ts.
  openFiles: count({
    ...{ min: 16, max: 1_048_576, default: 1_024, at: 'step', exec: { place: 7, bits: 32 } },
    what: 'open files of one process (RLIMIT_NOFILE)',
  }),
  stack: size({
    ...{ min: 64 * KiB, max: GiB, default: 16 * MiB, at: 'step', exec: { place: 8, bits: 64 } },
    what: 'stack of one thread (RLIMIT_STACK)',
  }),
  // Without a default: see defaultShm in profile.ts.
  shm: size({
    ...{ min: 0, max: 64 * GiB, at: 'container', otherwise: '8m' },
    what: 'size of /dev/shm, part of `memory`; the default is at most a sixteenth of it; 0: user code can not use it',
  }),
  dial: {
    kind: 'choice',
    schema: z.enum(['host', 'overlay']),
    at: 'container',
    otherwise: '`swarm.dial`',
    bounds: '`host`, `overlay`',
    what: "in a swarm: the network by which a sandbox's supervisor reaches katafleet; the program can not use it",
  },
  // Never the machine's own.
  network: {
    kind: 'name',
    schema: z
      .string()
      .regex(
        /^(?!(host|none|default)$)[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/,
        "expected the name of a Docker network, and not the machine's own",
      ),
    at: 'container',
    otherwise: 'none',
    bounds: 'not `host`',
    configured: 'a network of the host is the choice of who runs katafleet',
    what: 'the Docker network of the program; only for profiles of the configuration, and not on ssh nodes',
  },
} as const satisfies Record<
  string,
  ((Ranged & { kind: NumberKind }) | (LimitFacts & { kind: 'choice' | 'name'; bounds: string })) & { schema: z.ZodType }
>;

type Table = typeof limits;
export type LimitName = keyof Table;
/** The names of the limits that have a `Fact`. */
type NamesOf<Fact> = { [K in LimitName]: Table[K] extends Fact ? K : never }[LimitName];
type CallerLimit = { [K in LimitName]: Table[K] extends { configured: string } ? never : K }[LimitName];
type FieldSchema<K extends LimitName> = Table[K] extends { default: number }
  ? z.ZodDefault<Table[K]['schema']>
  : z.ZodOptional<Table[K]['schema']>;

/** Names of all limits, in the order of the table. */
export const limitNames = Object.keys(limits) as LimitName[];
/** One limit, with every field that any limit may have. */
export const limitOf = (
  name: LimitName,
): Partial<Ranged> & LimitFacts & { kind: Table[LimitName]['kind']; bounds?: string; schema: z.ZodType } => limits[name];

const namesOf = <K extends LimitName>(holds: (limit: ReturnType<typeof limitOf>) => boolean) =>
  limitNames.filter((name): name is K => holds(limitOf(name)));
export type ContainerLimit = NamesOf<{ at: 'container' }>;
export type ExecLimit = NamesOf<{ exec: object }>;
type OwnLimit = NamesOf<{ ownOfStep: true }>;
export const containerLimits = namesOf<ContainerLimit>(({ at }) => at === 'container');
/** Limits that a step may give itself. */
export const ownLimits = namesOf<OwnLimit>(({ ownOfStep }) => ownOfStep === true);
/** Limits that callers may give. */
export const callerLimits = namesOf<CallerLimit>(({ configured }) => configured === undefined);

/** Makes an object with one field for each name. */
export function eachLimit<K extends LimitName, T>(names: readonly K[], field: (name: K) => T): Record<K, T> {
  return Object.fromEntries(names.map((name) => [name, field(name)])) as Record<K, T>;
}

/** All limits as fields of a schema. Those without a default may be absent. */
export const limitShape = eachLimit(limitNames, (name) => {
  const { schema, default: byItself } = limitOf(name);
  return byItself === undefined ? schema.optional() : schema.default(byItself);
}) as { [K in LimitName]: FieldSchema<K> };

/** Some limits as fields of a schema. All may be absent, and none has a default. */
export const optionalShape = <K extends LimitName>(names: readonly K[]) =>
  eachLimit(names, (name) => limitOf(name).schema.optional()) as { [N in K]: z.ZodOptional<Table[N]['schema']> };
