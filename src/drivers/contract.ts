import type { Duplex, Readable } from 'node:stream';
import type { DriverKind } from '../model/driver-kind.ts';
import type { LightRules } from '../model/lights.ts';
import type { Machine } from '../model/node.ts';
import type { SandboxLimits } from '../model/profile.ts';

/** What probing an endpoint found. */
export interface Fingerprint {
  /** Name of the node as its engine gives it. */
  node: string;
  engineVersion: string;
  /** API version that katafleet speaks with it, `1.41`. */
  apiVersion: string;
  architecture: 'amd64' | 'arm64' | 'other';
  cpus: number;
  /** Bytes. */
  memory: number;
  /** Where several machines stand behind it: bytes and CPUs of the largest, for no sandbox is larger. */
  largest?: { memory: number; cpus: number };
  kernel: string;
  cgroupVersion: '1' | '2' | 'unknown';
  /** Whether the kernel enforces each limit. */
  enforces: { memory: boolean; swap: boolean; pids: boolean; cpu: boolean };
  seccomp: boolean;
  swarm: 'inactive' | 'locked' | 'worker' | 'manager';
  /** Where images lie: `overlay2`. */
  storage: string;
  /** `runc`, `crun`, `runsc`; the engine's default first. */
  runtimes: string[];
  /** The node's clock less ours, ms; half a round trip uncertain. Undefined where the engine doesn't tell the time. */
  clockSkewMs: number | undefined;
}

/** What probing an endpoint found, as far as the choice of its driver needs it. */
export type Reached =
  | { api: 'usable'; fingerprint: Pick<Fingerprint, 'apiVersion' | 'swarm'> }
  /** It answers, and its API is older than 1.24. */
  | { api: 'too_old'; engineVersion: string }
  /** Nothing answers as an engine does; over ssh the host's own docker may still be there. */
  | { api: 'none'; why: string };

/** An image on a node. */
export interface NodeImage {
  id: string;
  /** `repository:tag`. */
  tags: string[];
  /** `repository@sha256:…`, what registries know it by. */
  digests: string[];
  /** Bytes. */
  size: number;
  labels: Readonly<Record<string, string>>;
}

/** An image made ready for sandboxes on one node: it carries the supervisor. */
export interface PreparedImage {
  /** The name it was asked for by. */
  name: string;
  /** The engine's id, `sha256:…`: never a tag, so that no registry is asked. */
  id: string;
  lights?: LightRules;
  /** What its recipe says that it runs where no command is given. */
  command?: readonly string[];
  /** What the image itself runs, its ENTRYPOINT and CMD. */
  imageCommand?: readonly string[];
  /** Whom its programs have to be: its files are that user's. Absent, each sandbox has a uid of its own. */
  user?: { uid: number; gid: number };
  /** Folders that the image declares as volumes: covered in a sandbox, so that nothing is written to the node's disk. */
  volumes: readonly string[];
}

export interface SandboxSpec {
  /** Unique; travels in the label `katafleet.sandbox`, so that a container is known by it before the engine has answered. */
  name: string;
  image: PreparedImage;
  limits: SandboxLimits;
  labels: Readonly<Record<string, string>>;
  /** How long the supervisor waits for its run before it exits, ms. */
  idleMs: number;
}

/** How a sandbox's container ended, by the engine's word. */
export interface SandboxEnd {
  /** Undefined where the engine can't tell, and then it may have been anything that befell the node. */
  exitCode: number | undefined;
  oomKilled: boolean;
  /** Its machine was silent for so long that it counts as lost, though the node that it belongs to answers. False if absent. */
  silent?: boolean;
}

/** A started container whose PID 1 is the supervisor, and the stream that joins it. Serves one run. */
export interface Sandbox {
  readonly id: string;
  /** As in its {@link SandboxSpec}. */
  readonly name: string;
  readonly node: string;
  /** The supervisor's protocol; destroyed when the container or the engine goes away. */
  readonly stream: Duplex;
  /** Processes and threads that the program may have, where the container itself has no such limit. */
  readonly processes?: number;
  /** Resolves when the stream's carrier has gone: the container stopped, the engine went away, or the stream was destroyed. */
  readonly closed: Promise<void>;
  /** The engine's word on the end; waits until the container has stopped. @throws engine.* */
  ended(signal?: AbortSignal): Promise<SandboxEnd>;
  /**
   * The engine's word on whether the kernel killed anything in the container for want of memory, its first process or any
   * other, for a supervisor that can't see that itself. Waits until the container has stopped. Absent where the engine
   * doesn't tell. @throws engine.*
   */
  outOfMemory?(signal: AbortSignal): Promise<boolean>;
  /** Kills and removes the container; resolves when the engine has confirmed it. Removing twice is no error. */
  remove(): Promise<void>;
}

/** A container that carries our labels. */
export interface OwnedContainer {
  id: string;
  running: boolean;
  labels: Readonly<Record<string, string>>;
}

/** A node, reached one way. Every method may throw engine.unreachable, engine.permission or engine.failed. */
export interface Driver {
  readonly kind: DriverKind;
  /** The endpoint as it was configured, for messages: without its password. */
  readonly endpoint: string;
  /** Asks the node once; later calls give the same answer until {@link Driver.forget}. @throws engine.too_old */
  probe(): Promise<Fingerprint>;
  /** Drops what is known of the node, for when it was lost and came back. */
  forget(): void;
  /** Finds an image on the node and sees that it carries the supervisor. @throws image.unknown */
  prepare(image: string): Promise<PreparedImage>;
  /** Creates, attaches and starts. @throws sandbox.failed, engine.disk_full */
  create(spec: SandboxSpec, signal?: AbortSignal): Promise<Sandbox>;
  /** Containers with the label `katafleet.role`, running or not. */
  list(): Promise<OwnedContainer[]>;
  remove(id: string): Promise<void>;
  images(): Promise<NodeImage[]>;
  /** Resolves when the node answers. @throws engine.*, the signal's reason */
  ping(signal: AbortSignal): Promise<void>;
  /**
   * Breaks off every call under way, for a node that is given up: they fail with engine.unreachable. Streams of sandboxes
   * are left to those who hold them.
   */
  disconnect(): void;
  /** Calls back whenever the node's images change, until the signal or the engine ends it. */
  readonly watchImages?: ((changed: () => void, signal: AbortSignal) => Promise<void>) | undefined;
  /** The archive that `docker save` makes: names, layers and ids. */
  readonly exportImage?: ((name: string) => Promise<Readable>) | undefined;
  /**
   * About how many bytes that archive has, where the image's size does not say it; 0 where the engine can't tell. Undefined where
   * the size does.
   */
  readonly archiveBytes?: ((name: string) => Promise<number | undefined>) | undefined;
  /** Takes such an archive. */
  readonly importImage?: ((archive: Readable) => Promise<void>) | undefined;
  /** Takes the name from an image, and removes it with its last one; an image in use stays, and that is engine.conflict. */
  readonly removeImage?: ((name: string) => Promise<void>) | undefined;
  /** The machines behind the endpoint, where it is more than one. @throws engine.* */
  readonly machines?: (() => Promise<Machine[]>) | undefined;
  /** Whether a machine behind the endpoint takes tasks. @throws node.unknown, engine.* */
  readonly setAvailability?: ((machine: string, availability: Machine['availability']) => Promise<void>) | undefined;
  /** Why sandboxes that were asked for have not come, in words, for `explain`; none if nothing is amiss. */
  readonly troubles?: ((image: string, limits: SandboxLimits) => Promise<string[]>) | undefined;
  /** Sandboxes that may be asked for at once; where absent, twice the CPUs are worth it. */
  readonly starts?: number | undefined;
  /** For an endpoint that several drivers can serve: what answers there, for the choice between them. @throws as {@link probe} */
  readonly reach?: (() => Promise<Reached>) | undefined;
  /** The choice; all other calls are for that driver from then on. */
  use?(kind: DriverKind): void;
  /** Whether sandboxes live on when the endpoint does not answer: their streams do not pass through it. */
  readonly independent?: boolean | undefined;
  close(): void | Promise<void>;
}
