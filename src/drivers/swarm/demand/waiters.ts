import { messageOf } from '../../../model/errors.ts';
import type { Sandbox, SandboxSpec } from '../../contract.ts';

interface Waiter {
  spec: SandboxSpec;
  since: number;
  resolve: (sandbox: Sandbox) => void;
  reject: (error: unknown) => void;
}

/** Who waits for a sandbox, in the order in which they came. Each is served, refused, or gives up by its signal: once. */
export class Waiters {
  readonly #all = new Set<Waiter>();
  readonly #now: () => number;
  readonly #onLess: () => void;

  /** `onLess` is told of each that waits no more. */
  constructor(now: () => number, onLess: () => void) {
    this.#now = now;
    this.#onLess = onLess;
  }

  get size(): number {
    return this.#all.size;
  }

  /** When each of them came. */
  get since(): number[] {
    return Array.from(this.#all, ({ since }) => since);
  }

  /** @throws what it is refused with; the signal's reason */
  add(spec: SandboxSpec, signal?: AbortSignal): Promise<Sandbox> {
    signal?.throwIfAborted();
    return new Promise((resolve, reject) => {
      const waiter: Waiter = {
        spec,
        since: this.#now(),
        resolve: (sandbox) => {
          done();
          resolve(sandbox);
        },
        reject: (error) => {
          done();
          reject(error instanceof Error ? error : new Error(messageOf(error)));
        },
      };
      const aborted = () => waiter.reject(signal?.reason);
      const done = () => {
        this.#all.delete(waiter);
        signal?.removeEventListener('abort', aborted);
        this.#onLess();
      };
      signal?.addEventListener('abort', aborted, { once: true });
      this.#all.add(waiter);
    });
  }

  /** Who waits longest gets what is made for it; whether anyone does. */
  serve(make: (spec: SandboxSpec) => Sandbox): boolean {
    const [first] = this.#all;
    first?.resolve(make(first.spec));
    return first !== undefined;
  }

  refuseAll(error: Error): void {
    for (const waiter of this.#all) waiter.reject(error);
  }

  /** Those who came last. */
  refuseLast(count: number, error: Error): void {
    for (const waiter of Array.from(this.#all).slice(Math.max(0, this.#all.size - count))) waiter.reject(error);
  }

  /** Those who came by then. */
  refuseUntil(then: number, error: Error): void {
    for (const waiter of this.#all) if (waiter.since <= then) waiter.reject(error);
  }
}
