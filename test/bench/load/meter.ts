// Preloaded into a measured server (node --import): answers its parent's questions over IPC. Measures nothing in worker threads.
import { subscribe } from 'node:diagnostics_channel';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { constants, monitorEventLoopDelay, performance, PerformanceObserver } from 'node:perf_hooks';
import { isMainThread } from 'node:worker_threads';
import { type Spread, spreadOf } from '../statistics.ts';

/** What the server says of the time since the last question. Times in ms. */
export interface Figures {
  /** How late the event loop was. */
  delay: Spread;
  /** From the last byte of a POST /v1/runs that does not wait for its run, to its answer handed to the kernel. */
  accept: Spread;
  /** Collections of the young and of the whole heap, and how long they held the main thread. */
  collections: Record<'young' | 'whole', { count: number; ms: number }>;
}
/** What the server holds after a collection, bytes. */
export interface Held {
  heap: number;
  external: number;
  rss: number;
}
export type Question = 'figures' | 'held';
export type Reply = { question: 'figures'; figures: Figures } | { question: 'held'; held: Held };

/** How often the delay is looked at, ms. */
const resolution = 1;

if (isMainThread && process.send) {
  const delay = monitorEventLoopDelay({ resolution });
  delay.enable();
  let accepted: number[] = [];
  const none = (): Figures['collections'] => ({ young: { count: 0, ms: 0 }, whole: { count: 0, ms: 0 } });
  let collections = none();
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) {
      const { duration, detail } = entry as typeof entry & { detail: { kind: number } };
      const of = collections[detail.kind === constants.NODE_PERFORMANCE_GC_MINOR ? 'young' : 'whole'];
      of.count += 1;
      of.ms += duration;
    }
  }).observe({ entryTypes: ['gc'] });
  const readAt = new WeakMap<IncomingMessage, number>();
  subscribe('http.server.request.start', (message) => {
    const { request } = message as { request: IncomingMessage };
    if (request.method === 'POST' && request.url === '/v1/runs') request.once('end', () => readAt.set(request, performance.now()));
  });
  subscribe('http.server.response.finish', (message) => {
    const { request } = message as { request: IncomingMessage; response: ServerResponse };
    const read = readAt.get(request);
    if (read !== undefined) accepted.push(performance.now() - read);
  });
  const say = (reply: Reply) => process.send?.(reply);
  const figures = () => {
    const late = (ns: number) => Math.max(0, ns / 1e6 - resolution);
    const of: Figures = {
      delay: {
        n: delay.count,
        median: late(delay.percentile(50)),
        p95: late(delay.percentile(95)),
        p99: late(delay.percentile(99)),
        most: late(delay.max),
      },
      accept: spreadOf(accepted),
      collections,
    };
    delay.reset();
    accepted = [];
    collections = none();
    return of;
  };
  const held = async (): Promise<Held> => {
    for (let round = 0; round < 3; round += 1) {
      globalThis.gc?.();
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    const { heapUsed, external, rss } = process.memoryUsage();
    return { heap: heapUsed, external, rss };
  };
  process.on('message', (question: Question) => {
    if (question === 'figures') say({ question, figures: figures() });
    else void held().then((found) => say({ question: 'held', held: found }));
  });
  process.channel?.unref();
}
