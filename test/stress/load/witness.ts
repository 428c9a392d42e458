import { readdirSync, readFileSync } from 'node:fs';
import type { Execution } from './history.ts';

/** How often /proc is read, ms. A program that lives shorter may be missed, and is then not counted. */
const everyMs = 40;
/** How often a new process is read again: between fork and exec it has the words of its parent. */
const looks = 6;

/** A program that is executing now. */
export interface Running {
  nonce: string;
  /** Its control groups, which say in which host and container it is. */
  groups: string;
}

/**
 * Sees which runs' programs execute, without asking katafleet or an engine: their last argument is the run's nonce, and the processes of
 * all containers are in this machine's /proc.
 */
export class Witness implements Disposable {
  readonly executions: Execution[] = [];
  /** What is known of each process: its nonce, or how often it was read without one. */
  readonly #seen = new Map<string, Running | number>();
  readonly #nonces = new Set<string>();
  readonly #timer: NodeJS.Timeout;

  constructor() {
    this.#timer = setInterval(() => this.look(), everyMs);
  }

  /** Whether a program with this nonce was ever seen. */
  has(nonce: string): boolean {
    return this.#nonces.has(nonce);
  }

  /** Programs that execute, by nonce. */
  running(): Map<string, Running> {
    const all = new Map<string, Running>();
    for (const one of this.#seen.values()) if (typeof one === 'object') all.set(one.nonce, one);
    return all;
  }

  look(): void {
    const there = new Set(readdirSync('/proc').filter((name) => /^\d+$/.test(name)));
    for (const pid of this.#seen.keys()) if (!there.has(pid)) this.#seen.delete(pid);
    for (const pid of there) {
      const known = this.#seen.get(pid) ?? 0;
      if (typeof known === 'object' || known >= looks) continue;
      this.#seen.set(pid, this.#read(pid) ?? known + 1);
    }
  }

  #read(pid: string): Running | undefined {
    const nonce = nonceOf(pid);
    if (nonce === undefined) return undefined;
    try {
      // A shell's child has its words until it executes another program.
      const parent = /^\d+ \(.*\) \S (\d+)/s.exec(readFileSync(`/proc/${pid}/stat`, 'utf8'))?.[1] ?? '';
      if (nonceOf(parent) === nonce) return undefined;
      const groups = readFileSync(`/proc/${pid}/cgroup`, 'utf8');
      this.executions.push({ nonce, at: performance.now() });
      this.#nonces.add(nonce);
      return { nonce, groups };
    } catch {
      return undefined; // it has ended meanwhile
    }
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}

function nonceOf(pid: string): string | undefined {
  try {
    return /\0(nonce-[\w-]+)\0$/.exec(readFileSync(`/proc/${pid}/cmdline`, 'utf8'))?.[1];
  } catch {
    return undefined;
  }
}
