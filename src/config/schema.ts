import cron from 'node-cron';
import { z } from 'zod';
import { day, GiB, hour, KiB, MiB, minute, second } from '../base/units.ts';
import { defaults as usual } from '../model/defaults.ts';
import { driverPolicies, type DriverPolicy } from '../model/driver-kind.ts';
import { endpointIdentity, parseListen } from '../model/endpoint.ts';
import { parseHostName } from '../model/host-name.ts';
import { eachLimit, limitNames } from '../model/limits.ts';
import { Profile } from '../model/profile.ts';
import { defaultUids, mostUids, parseUids, type Uids, uidsInWords } from '../model/users.ts';
import { duration, durationOrOff, reserve, share, size } from './fields.ts';
import { limitField } from './limits.ts';
import { checkReach, endpoint, file, type ReachConfig, reachFields } from './reach.ts';
import { RsyncEntry } from './rsync.ts';
import { SwarmEntry } from './swarm.ts';

const name = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/, 'must be 1 to 63 letters, digits, or . _ -, and begin with a letter or digit');
const image = z.string().regex(/^[^\s\0]{1,512}$/, 'must be the name of an image');
const hostName = z.string().transform((text, context): string => {
  const parsed = parseHostName(text);
  if (parsed !== undefined) return parsed;
  const message = `expected the name of a host, without a port, got ${JSON.stringify(text)}`;
  context.addIssue({ code: 'custom', message });
  return z.NEVER;
});
const driver = z.enum(driverPolicies);
const labels = z.record(
  z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$/, 'must be 1 to 128 letters, digits, or . _ / -'),
  z.string().max(256),
);
const NodeEntry = z
  .strictObject({
    name,
    ...reachFields,
    /** Other managers of the swarm that the endpoint manages. */
    managers: z.array(endpoint).max(100).optional(),
    labels: labels.default({}),
    driver: driver.optional(),
    memory: z.strictObject({ reserve: reserve.optional() }).default({}),
    withoutMemoryLimits: z.boolean().optional(),
    starts: z.int().min(1).max(1_000).optional(),
    cordoned: z.boolean().default(false),
  })
  .superRefine(checkReach);

const ProfileEntry = z.strictObject(eachLimit(limitNames, limitField)).transform((fields) => Profile.parse(fields));

const PoolEntry = z.strictObject({
  image,
  profile: name.default('default'),
  idle: z
    .strictObject({ min: z.int().min(0).max(100_000).default(0), max: z.int().min(0).max(100_000) })
    .superRefine(({ min, max }, context) => {
      if (min > max) context.addIssue({ code: 'custom', message: `expected no more than max, which is ${max}, got ${min}`, path: ['min'] });
    }),
});

const schedule = (often: string) =>
  z
    .string()
    .refine((text) => text === 'off' || cron.validate(text), {
      error: (issue) => `expected five or six fields of cron, or off, got ${JSON.stringify(issue.input)}`,
    })
    .default(often)
    .transform((text) => (text === 'off' ? undefined : text));

/** The whole katafleet.yaml. Every field has a default; docs/config.md lists them with their bounds. */
export const ConfigFile = z
  .strictObject({
    nodes: z.array(NodeEntry).min(1).max(10_000).optional(),
    defaults: z
      .strictObject({
        reserve: reserve.default(usual.reserve),
        driver: driver.default(usual.driver),
        idleMemory: size(MiB, GiB).default(usual.idleMemory),
        withoutMemoryLimits: z.boolean().default(usual.withoutMemoryLimits),
      })
      .prefault({}),
    profiles: z.record(name, ProfileEntry).default({}),
    pools: z.array(PoolEntry).max(10_000).default([]),
    sandboxes: z
      .strictObject({
        uids: z
          .string()
          .default(uidsInWords(defaultUids))
          .transform((text, context): Uids => {
            const uids = parseUids(text);
            if (uids) return uids;
            const message = `expected FIRST-LAST such as 45056-46079, at most ${mostUids} uids and none of them root's, got ${JSON.stringify(text)}`;
            context.addIssue({ code: 'custom', message });
            return z.NEVER;
          }),
      })
      .prefault({}),
    images: z
      .strictObject({
        copy: z.boolean().default(usual.copy),
        keep: z.array(image).max(10_000).default([]),
        pruneAfter: durationOrOff(hour, 3_650 * day),
      })
      .prefault({}),
    queue: z
      .strictObject({
        runs: z.int().min(1).max(1_000_000).default(usual.queue.runs),
        /** If absent, a share of the server's memory. */
        bytes: size(MiB, 1024 * GiB).optional(),
        perTenant: z.int().min(1).max(1_000_000).default(usual.queue.perTenant),
        wait: duration(0, day).default(usual.queueMs),
      })
      .prefault({}),
    health: z
      .strictObject({
        interval: duration(100, 10 * minute).default(usual.health.intervalMs),
        timeout: duration(50, 5 * minute).default(usual.health.timeoutMs),
        /** How long the start of a sandbox may take; two in a row that take longer make the node suspect. */
        start: duration(second, hour).default(usual.health.startMs),
        failures: z.int().min(1).max(100).default(usual.health.failures),
        successes: z.int().min(1).max(100).default(usual.health.successes),
        /** How long a node is down or back before its share of the idle sandboxes moves. */
        away: duration(0, day).default(usual.awayMs),
      })
      .prefault({}),
    retries: z.strictObject({ attempts: z.int().min(1).max(100).default(usual.attempts) }).prefault({}),
    runs: z.strictObject({ acquire: duration(second, hour).default(usual.acquireMs) }).prefault({}),
    sessions: z
      .strictObject({
        most: z.int().min(0).max(100_000).default(usual.sessions.most),
        perTenant: z.int().min(0).max(100_000).default(usual.sessions.perTenant),
        idle: duration(second, day).default(usual.sessions.idleMs),
        age: duration(second, day).default(usual.sessions.ageMs),
        memory: share.default(usual.sessions.memory),
      })
      .prefault({}),
    placement: z.strictObject({ policy: z.enum(['spread', 'binpack']).default(usual.policy) }).prefault({}),
    journal: z
      .strictObject({
        file: file.optional(),
        keepResults: duration(minute, 3_650 * day).default(7 * day),
        /** Bytes of all results together. */
        keepBytes: size(MiB, 1024 * GiB).default(4 * GiB),
        keepEvents: duration(minute, 3_650 * day).default(30 * day),
        /** What an accepted run outlives. */
        durability: z.enum(['process', 'power']).default('process'),
      })
      .prefault({}),
    katas: z.strictObject({ folder: file.optional() }).prefault({}),
    schedules: z
      .strictObject({
        inventory: schedule('*/5 * * * *'),
        reap: schedule('* * * * *'),
        retention: schedule('17 * * * *'),
        prune: schedule('41 3 * * *'),
        pools: schedule('* * * * *'),
        jitter: duration(0, hour).default(10 * second),
      })
      .prefault({}),
    reaping: z.strictObject({ grace: duration(0, day).default(usual.graceMs) }).prefault({}),
    rsync: RsyncEntry,
    swarm: SwarmEntry,
    server: z
      .strictObject({
        listen: z
          .string()
          .refine((text) => parseListen(text) !== undefined, {
            error: (issue) => `expected HOST:PORT such as 127.0.0.1:7420, got ${JSON.stringify(issue.input)}`,
          })
          .default(`127.0.0.1:${usual.ports.api}`),
        /** Host names that clients use for the API, in addition to addresses, localhost and the host's own name. */
        names: z.array(hostName).max(100).default([]),
        /** If absent, a share of the server's memory. */
        bodyLimit: size(KiB, GiB).optional(),
        grace: duration(0, hour).default(20 * second),
      })
      .prefault({}),
  })
  .superRefine(crossCheck);
type ConfigFile = z.output<typeof ConfigFile>;

/** Checks what concerns several fields. */
function crossCheck(config: z.output<z.ZodObject<Record<string, never>>> | object, context: z.RefinementCtx): void {
  const { nodes = [], pools, profiles } = config as Pick<ConfigFile, 'nodes' | 'pools' | 'profiles'>;
  const twice = (what: string, path: (string | number)[], first: (string | number)[]) =>
    context.addIssue({ code: 'custom', message: what, path, params: { first } });
  const names = new Map<string, number>();
  const endpoints = new Map<string, number>();
  for (const [index, node] of nodes.entries()) {
    const [sameName, sameEndpoint] = [names.get(node.name), endpoints.get(endpointIdentity(node.endpoint, node.tls !== undefined))];
    if (sameName !== undefined)
      twice(`two nodes are named ${JSON.stringify(node.name)}`, ['nodes', index, 'name'], ['nodes', sameName, 'name']);
    else names.set(node.name, index);
    if (sameEndpoint !== undefined)
      twice(
        `two nodes have the endpoint of ${nodes[sameEndpoint]?.name ?? ''}`,
        ['nodes', index, 'endpoint'],
        ['nodes', sameEndpoint, 'endpoint'],
      );
    else endpoints.set(endpointIdentity(node.endpoint, node.tls !== undefined), index);
  }
  const seen = new Map<string, number>();
  for (const [index, pool] of pools.entries()) {
    const key = JSON.stringify([pool.image, pool.profile]);
    const same = seen.get(key);
    if (same !== undefined) twice(`two pools of ${pool.image} with the profile ${pool.profile}`, ['pools', index], ['pools', same]);
    else seen.set(key, index);
    if (pool.profile !== 'default' && !Object.hasOwn(profiles, pool.profile)) {
      const there = ['default', ...Object.keys(profiles).filter((other) => other !== 'default')].join(', ');
      context.addIssue({ code: 'custom', message: `no profile "${pool.profile}"; there are: ${there}`, path: ['pools', index, 'profile'] });
    }
  }
}

/** A node with the defaults filled in. */
export interface NodeConfig extends ReachConfig {
  name: string;
  managers?: string[] | undefined;
  labels: Record<string, string>;
  driver: DriverPolicy;
  reserve: { bytes: number } | { share: number };
  withoutMemoryLimits: boolean;
  starts?: number | undefined;
  cordoned: boolean;
}

/** The configuration as katafleet uses it: sizes in bytes, times in ms, all defaults filled in. */
export type Config = Omit<ConfigFile, 'nodes' | 'profiles' | 'queue' | 'server' | 'journal' | 'katas' | 'rsync' | 'swarm'> & {
  /** Undefined means the local engine. */
  nodes: NodeConfig[] | undefined;
  /** Includes `default`. */
  profiles: Record<string, Profile>;
  journal: ConfigFile['journal'] & { file: string };
  queue: ConfigFile['queue'] & { bytes: number };
  server: ConfigFile['server'] & { bodyLimit: number };
  katas: { folder: string };
  rsync: ConfigFile['rsync'] & { folder: string; advertise: string };
  swarm: Omit<ConfigFile['swarm'], 'workers'> & { key: string; workers: ReachConfig[] };
};
