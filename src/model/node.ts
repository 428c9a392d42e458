import { z } from 'zod';
import { wordOf } from './word.ts';

/** Nodes as people and programs see them: what `GET /v1/nodes` and `GET /v1/events` answer. Sizes are bytes, times Unix ms. */

/** What a node is to the scheduler. `unusable`: it answers, but must not serve; only a change on the node can mend that. */
export const HealthState = z.enum(['probing', 'ready', 'suspect', 'down', 'unusable']);
export type HealthState = z.output<typeof HealthState>;

const labels = z.record(z.string(), z.string()).readonly();
const sandboxes = z.object({ idle: z.number(), busy: z.number() });

/** A machine behind a node: a node of the swarm. */
export const Machine = z.object({
  id: z.string(),
  /** Its host name. */
  name: z.string(),
  role: wordOf(z.enum(['manager', 'worker']), 'worker'),
  leader: z.boolean(),
  state: wordOf(z.enum(['ready', 'down', 'disconnected', 'unknown']), 'unknown'),
  /** What the swarm's administrator decided: it takes tasks, keeps those it has, or is emptied. */
  availability: wordOf(z.enum(['active', 'pause', 'drain']), 'pause'),
  /** The swarm's reason for a state that is not ready. */
  message: z.string(),
  labels,
  architecture: wordOf(z.enum(['amd64', 'arm64', 'other']), 'other'),
  engineVersion: z.string(),
  cpus: z.number(),
  /** Bytes. */
  memory: z.number(),
  address: z.string(),
  /** Sandboxes of katafleet that have dialled in from there. */
  sandboxes,
  /** How many images it has; absent where that is not known. */
  images: z.number().exactOptional(),
  /** Finished containers of katafleet that could not be removed, because katafleet cannot reach the machine. */
  leftOver: z.number().exactOptional(),
});
export type Machine = z.output<typeof Machine>;

/** A node with its state and its books. */
export const NodeSummary = z.object({
  name: z.string(),
  /** Without its password. */
  endpoint: z.string(),
  state: wordOf(HealthState, 'unusable'),
  cordoned: wordOf(z.enum(['no', 'cordoned', 'draining', 'drained']), 'cordoned'),
  /** Why it is not ready. */
  trouble: z.object({ code: z.string(), message: z.string(), hint: z.string().exactOptional() }).exactOptional(),
  driver: z.string().optional(),
  /** Why this driver, and why not those that are preferred to it. */
  why: z.string(),
  labels,
  engine: z.string().optional(),
  api: z.string().optional(),
  architecture: z.string().optional(),
  kernel: z.string().optional(),
  cgroup: z.string().optional(),
  swarm: z.string().optional(),
  storage: z.string().optional(),
  runtimes: z.array(z.string()).readonly(),
  /** The limits that its kernel enforces. */
  enforces: z.array(z.string()).readonly(),
  cpus: z.number(),
  memory: z.object({
    total: z.number(),
    bookable: z.number(),
    booked: z.number(),
    /** What sandboxes of other katafleets, and leftovers that can't be removed, may take; absent if there are none. */
    others: z.number().exactOptional(),
    free: z.number(),
  }),
  sandboxes,
  images: z.number(),
  clockSkewMs: z.number().optional(),
  /** When it last answered. */
  lastSeen: z.number().optional(),
  /** The machines behind a swarm's node; their sandboxes are among the node's own. */
  members: z.array(Machine).readonly().exactOptional(),
});
export type NodeSummary = z.output<typeof NodeSummary>;

/** Something that happened to a node: its state changed, or a person cordoned it. */
export const NodeEvent = z.object({ at: z.number(), node: z.string(), kind: z.string(), detail: z.string() });
export type NodeEvent = z.output<typeof NodeEvent>;

/** One node with its last events, newest first. */
export const NodeDetail = z.object({ ...NodeSummary.shape, events: z.array(NodeEvent) });
export type NodeDetail = z.output<typeof NodeDetail>;
