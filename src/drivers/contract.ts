import type { Duplex, Readable } from 'node:stream';
import type { DriverKind } from '../model/driver-kind.ts';
import type { LightRules } from '../model/lights.ts';
import type { Machine } from '../model/node.ts';
import type { SandboxLimits } from '../model/profile.ts';

/** What probing an endpoint found. */
export interface Fingerprint {
  /** Name that the node's engine gives. */
  node: string;
  /** The engine's own id, which it keeps over restarts; a swarm's id for a swarm. Undefined if it says none. */
  engineId?: string | undefined;
  /** The id of the swarm that the engine manages. */
  swarmId?: string | undefined;
  engineVersion: string;
  /** API version that katafleet speaks with it, `1.41`. */
  apiVersion: string;
  architecture: 'amd64' | 'arm64' | 'other';
  cpus: number;
  /** Bytes. */
  memory: number;
  /** If several machines stand behind it: memory (bytes) and CPUs of the largest, because no sandbox can be larger. */
  largest?: { memory: number; cpus: number };
  kernel: string;
  cgroupVersion: '1' | '2' | 'unknown';
  /** Whether the kernel enforces each limit. */
  enforces: { memory: boolean; swap: boolean; pids: boolean; cpu: boolean };
  seccomp: boolean;
  swarm: 'inactive' | 'locked' | 'worker' | 'manager';
  /** Storage driver of the engine, such as `overlay2`. */
  storage: string;
  /** `runc`, `crun`, `runsc`; the engine's default first. */
  runtimes: string[];
  /** The node's clock minus ours (ms), accurate to half a round trip. Undefined if the engine does not report its time. */
  clockSkewMs: number | undefined;
}

/** What probing an endpoint found, reduced to what the choice of a driver needs. */
export type Reached =
  | { api: 'usable'; fingerprint: Pick<Fingerprint, 'apiVersion' | 'swarm'> }
  /** An engine answers, but its API is older than 1.24. */
  | { api: 'too_old'; engineVersion: string }
  /** No engine answers. Over ssh, the host's own docker command may still be usable. */
  | { api: 'none'; why: string };

/** An image on a node. */
export interface NodeImage {
  id: string;
  /** `repository:tag`. */
  tags: string[];
  /** `repository@sha256:…`, its names in registries. */
  digests: string[];
  /** Bytes. */
  size: number;
  labels: Readonly<Record<string, string>>;
}

/** An image that is ready for sandboxes on one node: it contains the supervisor. */
export interface PreparedImage {
  /** The name that the caller used. */
  name: string;
  /** The engine's id, `sha256:…`; never a tag, for which a registry might be asked. */
  id: string;
  lights?: LightRules;
  /** The command that its recipe names, for runs without one. */
  command?: readonly string[];
  /** The image's own command: its ENTRYPOINT and CMD. */
  imageCommand?: readonly string[];
  /** The user of its programs, who owns its files. If absent, each sandbox gets a uid of its own. */
  user?: { uid: number; gid: number };
  /** Folders that the image declares as volumes. A sandbox mounts over them, so that nothing is written to the node's disk. */
  volumes: readonly string[];
}

export interface SandboxSpec {
  /** Unique. Set as the label `katafleet.sandbox`, so that the container can be found even if the engine's answer is lost. */
  name: string;
  image: PreparedImage;
  limits: SandboxLimits;
  labels: Readonly<Record<string, string>>;
  /** How long the supervisor waits for its run before it exits (ms). */
  idleMs: number;
}

/** How a sandbox's container ended, as the engine reports it. */
export interface SandboxEnd {
  /** Undefined if the engine can't tell; then the cause may be anything on the node. */
  exitCode: number | undefined;
  oomKilled: boolean;
  /** Its machine was silent for too long and counts as lost, although the node answers. False if absent. */
  silent?: boolean;
}

/** A started container whose PID 1 is the supervisor, with the stream to it. Serves one run. */
export interface Sandbox {
  readonly id: string;
  /** As in its {@link SandboxSpec}. */
  readonly name: string;
  readonly node: string;
  /** Carries the supervisor's protocol. Destroyed when the container or the engine is gone. */
  readonly stream: Duplex;
  /** Greatest number of the program's processes and threads, if the container itself has no such limit. */
  readonly processes?: number;
  /** Resolves when the stream's carrier is gone: the container stopped, the engine is gone, or the stream was destroyed. */
  readonly closed: Promise<void>;
  /** Waits until the container has stopped, and reports how it ended. @throws engine.* */
  ended(signal?: AbortSignal): Promise<SandboxEnd>;
  /**
   * Waits until the container has stopped, and reports whether the kernel killed any of its processes for lack of memory. Needed
   * where the supervisor can't see that itself. Absent if the engine does not report it. @throws engine.*
   */
  outOfMemory?(signal: AbortSignal): Promise<boolean>;
  /** Kills and removes the container; resolves when the engine has confirmed it. Removing twice is no error. */
  remove(): Promise<void>;
}

/** A container that carries our labels. */
export interface OwnedContainer {
  id: string;
  running: boolean;
  /** Whether it has not ended: it runs, is paused, or was made and not started yet. As `running` if absent. */
  alive?: boolean;
  /** When it was made by the engine's own clock, Unix ms, as exactly as the engine says it. */
  created?: number;
  /** Its memory limit, bytes; absent if it is not known. */
  memory?: number;
  labels: Readonly<Record<string, string>>;
}

/** Serves a node. Every method may throw engine.unreachable, engine.permission or engine.failed. */
export interface Driver {
  readonly kind: DriverKind;
  /** The endpoint as configured, without its password; for messages. */
  readonly endpoint: string;
  /** Asks the node once. Later calls return the same answer until {@link Driver.forget}. @throws engine.too_old */
  probe(): Promise<Fingerprint>;
  /** Drops all that is remembered of the node, because it may have changed. */
  forget(): void;
  /** Finds an image on the node, by name or id, and makes sure that it contains the supervisor. @throws image.unknown */
  prepare(image: string): Promise<PreparedImage>;
  /** Creates, attaches and starts a sandbox. @throws sandbox.failed, engine.disk_full */
  create(spec: SandboxSpec, signal?: AbortSignal): Promise<Sandbox>;
  /** Containers with the label `katafleet.role`, running or not. */
  list(): Promise<OwnedContainer[]>;
  /** Whether {@link list} is a single quick call. */
  readonly listsFast?: boolean | undefined;
  /** When a container was created, as exactly as the engine knows it; for drivers whose {@link list} says it less exactly. */
  readonly createdAt?: ((id: string) => Promise<number | undefined>) | undefined;
  remove(id: string): Promise<void>;
  images(): Promise<NodeImage[]>;
  /** Resolves when the node answers. @throws engine.*, the signal's reason */
  ping(signal: AbortSignal): Promise<void>;
  /**
   * Asks the node what it is now, whatever {@link probe} remembers: another machine may answer at the endpoint. Cheaper than a probe.
   * @throws engine.*, the signal's reason
   */
  readonly identify?: ((signal: AbortSignal) => Promise<Fingerprint>) | undefined;
  /**
   * Aborts every call under way with engine.unreachable, when a node is given up. Does not touch the streams of sandboxes: their
   * owners close them.
   */
  disconnect(): void;
  /** Calls back whenever the node's images change, until the signal is aborted or the engine ends the watch. */
  readonly watchImages?: ((changed: () => void, signal: AbortSignal) => Promise<void>) | undefined;
  /** Returns the archive that `docker save` makes: names, layers and ids. */
  readonly exportImage?: ((name: string) => Promise<Readable>) | undefined;
  /**
   * Approximate size of that archive (bytes); 0 if the engine can't tell. Undefined if it is the image's size.
   */
  readonly archiveBytes?: ((name: string) => Promise<number | undefined>) | undefined;
  /** Imports such an archive. */
  readonly importImage?: ((archive: Readable) => Promise<void>) | undefined;
  /** Removes a name from an image, and the image with its last name. @throws engine.conflict if the image is in use */
  readonly removeImage?: ((name: string) => Promise<void>) | undefined;
  /** Lists the machines behind the endpoint. Absent if it is one machine. @throws engine.* */
  readonly machines?: (() => Promise<Machine[]>) | undefined;
  /** Sets whether a machine behind the endpoint takes tasks. @throws node.unknown, engine.* */
  readonly setAvailability?: ((machine: string, availability: Machine['availability']) => Promise<void>) | undefined;
  /** Why requested sandboxes have not started, as sentences for `explain`; none if there is no trouble. */
  readonly troubles?: ((image: string, limits: SandboxLimits) => Promise<string[]>) | undefined;
  /** Greatest number of sandboxes that may be requested at once. If absent, twice the number of CPUs. */
  readonly starts?: number | undefined;
  /** If several drivers can serve the endpoint: finds out what answers there, for the choice between them. @throws as {@link probe} */
  readonly reach?: (() => Promise<Reached>) | undefined;
  /** Chooses the driver that serves all other calls from now on. */
  use?(kind: DriverKind): void;
  /** Whether sandboxes go on when the endpoint does not answer, because their streams do not pass through it. */
  readonly independent?: boolean | undefined;
  close(): void | Promise<void>;
}
