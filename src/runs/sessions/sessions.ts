import { outcomeFacts } from '../../model/outcome.ts';
import type { RunResult } from '../../model/result.ts';
import type { Lease } from '../../fleet/node/sandboxes.ts';
import type { Job } from '../job.ts';
import type { SandboxState } from './sandbox-state.ts';

/** How many sandboxes are kept for their sessions' next runs, and for how long. */
export interface SessionLimits {
  /** Over the whole fleet; 0 keeps none. */
  most: number;
  /** Of one tenant. */
  perTenant: number;
  /** A sandbox that its session did not use for this time is released, ms. */
  idleMs: number;
  /** No sandbox serves for longer than this, ms. */
  ageMs: number;
  /** Share of a node's memory that kept sandboxes may hold, from 0 to 1. */
  memory: number;
}

/** A sandbox kept for one session, between two of its runs. Its memory stays booked. */
export interface SessionSandbox {
  readonly lease: Lease;
  readonly node: string;
  readonly state: SandboxState;
  /** Monotonic ms. */
  readonly born: number;
}

interface SessionEntry extends SessionSandbox {
  readonly key: string;
  readonly tenant: string;
  /** What a run must have in common with the one that made the sandbox. */
  readonly shape: string;
  readonly memory: number;
  usedAt: number;
}

export interface SessionsOptions {
  limits: SessionLimits;
  /** Whether a node takes runs, and its memory in bytes. */
  node: (name: string) => { usable: boolean; memory: number };
  /** Called when the memory of the kept sandboxes on a node has changed, with their bytes. */
  onKept?: (node: string, bytes: number) => void;
  now?: () => number;
}

/** How often those whose time is over are looked for, ms. */
const sweepMs = 1_000;

/** The sandboxes that wait for their sessions' next runs, the longest unused first. Never shared: a session belongs to one tenant. */
export class Sessions {
  readonly #options: SessionsOptions;
  readonly #now: () => number;
  /** In the order of their last use. */
  readonly #entries = new Map<string, SessionEntry>();
  /** Bytes of the kept sandboxes, by node. */
  readonly #kept = new Map<string, number>();
  readonly #leaving = new Set<Promise<void>>();
  #sweep: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: SessionsOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
  }

  get size(): number {
    return this.#entries.size;
  }

  /** How long a sandbox may serve that begins a session now, ms. */
  get ageMs(): number {
    return this.#options.limits.ageMs;
  }

  /** Takes the sandbox of a job's session; undefined if there is none that still fits. */
  take(job: Job): SessionSandbox | undefined {
    const key = keyOf(job);
    const entry = key === undefined ? undefined : this.#entries.get(key);
    if (!entry) return undefined;
    this.#forget(entry);
    const fits = entry.shape === shapeOf(job) && this.#options.node(entry.node).usable && this.#now() - entry.born < this.ageMs;
    if (fits) return entry;
    this.#release(entry);
    return undefined;
  }

  /** Keeps a sandbox for its session's next run, or releases it if it must not be kept. */
  keep(job: Job, kept: SessionSandbox): void {
    const key = keyOf(job);
    if (key === undefined || this.#closed || this.#options.limits.most === 0 || this.#now() - kept.born >= this.ageMs) {
      this.#release(kept);
      return;
    }
    const other = this.#entries.get(key); // of another run of the session, at the same time
    if (other) this.#drop(other);
    const entry = { ...kept, key, tenant: job.placing.tenant, shape: shapeOf(job), memory: job.limits.memory, usedAt: this.#now() };
    this.#entries.set(key, entry);
    this.#count(entry, 1);
    void kept.lease.sandbox.closed.then(() => {
      if (this.#entries.get(key) === entry) this.#drop(entry);
    });
    this.#bound(entry);
    this.#sweep ??= setInterval(() => this.sweep(), sweepMs).unref();
  }

  /** Releases sandboxes beyond the bounds, the longest unused first. */
  #bound({ tenant, node }: SessionEntry): void {
    const { most, perTenant, memory } = this.#options.limits;
    const of = (mine: (entry: SessionEntry) => boolean) => Array.from(this.#entries.values()).filter(mine);
    const trim = (entries: SessionEntry[], tooMuch: (left: SessionEntry[]) => boolean) => {
      for (let at = 0; at < entries.length && tooMuch(entries.slice(at)); at += 1) this.#drop(entries[at] as SessionEntry);
    };
    trim(
      of(() => true),
      (left) => left.length > most,
    );
    trim(
      of((entry) => entry.tenant === tenant),
      (left) => left.length > perTenant,
    );
    const room = memory * this.#options.node(node).memory;
    trim(
      of((entry) => entry.node === node),
      (left) => left.reduce((sum, entry) => sum + entry.memory, 0) > room,
    );
  }

  /** Releases the longest unused sandbox on one of the nodes, because memory is needed. Returns whether there was one. */
  makeRoom(helps: (node: string) => boolean): boolean {
    for (const entry of this.#entries.values()) {
      if (!helps(entry.node)) continue;
      this.#drop(entry);
      return true;
    }
    return false;
  }

  /** Releases the longest unused sandboxes on a node until they free so many bytes. */
  giveWay(node: string, bytes: number): void {
    let left = bytes;
    for (const entry of this.#entries.values()) {
      if (left <= 0) return;
      if (entry.node !== node) continue;
      left -= entry.memory;
      this.#drop(entry);
    }
  }

  /** Releases sandboxes whose time is over, or whose node takes no runs. */
  sweep(): void {
    const now = this.#now();
    const { idleMs, ageMs } = this.#options.limits;
    for (const entry of this.#entries.values()) {
      if (now - entry.usedAt >= idleMs || now - entry.born >= ageMs || !this.#options.node(entry.node).usable) this.#drop(entry);
    }
    if (this.#entries.size > 0) return;
    clearInterval(this.#sweep);
    this.#sweep = undefined;
  }

  #drop(entry: SessionEntry): void {
    this.#forget(entry);
    this.#release(entry);
  }

  #forget(entry: SessionEntry): void {
    this.#entries.delete(entry.key);
    this.#count(entry, -1);
  }

  #count({ node, memory }: SessionEntry, one: 1 | -1): void {
    const bytes = (this.#kept.get(node) ?? 0) + one * memory;
    if (bytes > 0) this.#kept.set(node, bytes);
    else this.#kept.delete(node);
    this.#options.onKept?.(node, bytes);
  }

  #release({ lease }: SessionSandbox): void {
    const leaving = lease.release().catch(() => undefined); // the reaper removes what the engine would not
    this.#leaving.add(leaving);
    void leaving.finally(() => this.#leaving.delete(leaving));
  }

  /** Releases all sandboxes. Resolves when they are gone. */
  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#sweep);
    for (const entry of this.#entries.values()) this.#drop(entry);
    await Promise.all(this.#leaving);
  }
}

/** Whether a sandbox can serve another run after a run with this end: it survived, and its whole content is known. */
export function mayServeAgain({ collect }: Pick<Job, 'collect'>, { outcome, changes }: Pick<RunResult, 'outcome' | 'changes'>): boolean {
  return outcomeFacts(outcome).reusable && collect && changes.omittedCount === changes.omitted.length;
}

const keyOf = ({ request, placing }: Job): string | undefined =>
  request.session === undefined ? undefined : JSON.stringify([placing.tenant, request.session]);

/** The pool of its sandbox, the values of OPEN, and where it may run. */
function shapeOf({ pool, profile, placing }: Job): string {
  const { filesBack, fileBack, bytesBack } = profile;
  return JSON.stringify([pool, filesBack, fileBack, bytesBack, placing.constraints, placing.architecture]);
}
