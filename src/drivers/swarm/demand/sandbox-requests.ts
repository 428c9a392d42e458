import { messageOf } from '../../../model/errors.ts';
import type { Sandbox, SandboxSpec } from '../../contract.ts';

interface SandboxRequest {
  spec: SandboxSpec;
  /** When it came, on the queue's clock. */
  since: number;
  resolve: (sandbox: Sandbox) => void;
  reject: (error: unknown) => void;
}

/** The queue of requests for a sandbox, oldest first. Each request ends once: it is served, refused, or aborted by its signal. */
export class SandboxRequests {
  readonly #all = new Set<SandboxRequest>();
  readonly #now: () => number;
  readonly #onLess: () => void;

  /** Calls `onLess` after each request that has left the queue. */
  constructor(now: () => number, onLess: () => void) {
    this.#now = now;
    this.#onLess = onLess;
  }

  get size(): number {
    return this.#all.size;
  }

  /** When each request came, oldest first. */
  get since(): number[] {
    return Array.from(this.#all, ({ since }) => since);
  }

  /** Queues a request and resolves with its sandbox. @throws what it is refused with; the signal's reason */
  add(spec: SandboxSpec, signal?: AbortSignal): Promise<Sandbox> {
    signal?.throwIfAborted();
    return new Promise((resolve, reject) => {
      const request: SandboxRequest = {
        spec,
        since: this.#now(),
        resolve: (sandbox) => {
          leave();
          resolve(sandbox);
        },
        reject: (error) => {
          leave();
          reject(error instanceof Error ? error : new Error(messageOf(error)));
        },
      };
      const aborted = () => request.reject(signal?.reason);
      const leave = () => {
        this.#all.delete(request);
        signal?.removeEventListener('abort', aborted);
        this.#onLess();
      };
      signal?.addEventListener('abort', aborted, { once: true });
      this.#all.add(request);
    });
  }

  /** Serves the oldest request with what `make` returns for it. Returns false, and makes nothing, when the queue is empty. */
  serve(make: (spec: SandboxSpec) => Sandbox): boolean {
    const [first] = this.#all;
    first?.resolve(make(first.spec));
    return first !== undefined;
  }

  refuseAll(error: Error): void {
    for (const request of this.#all) request.reject(error);
  }

  /** Refuses the newest requests, `count` of them at most. */
  refuseLast(count: number, error: Error): void {
    for (const request of Array.from(this.#all).slice(Math.max(0, this.#all.size - count))) request.reject(error);
  }

  /** Refuses the requests that came at `then` or before. */
  refuseUntil(then: number, error: Error): void {
    for (const request of this.#all) if (request.since <= then) request.reject(error);
  }
}
