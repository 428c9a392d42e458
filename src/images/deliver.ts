import PQueue from 'p-queue';
import { KatafleetError, messageOf } from '../model/errors.ts';
import type { PlannedStep } from './distribute.ts';

/** An event of a copy. */
export type CopyEvent = { image: string; node: string } & (
  | { kind: 'begun'; from: string; attempt: number }
  /** Bytes of this attempt so far. */
  | { kind: 'passed'; bytes: number }
  /** The copy broke off and begins again. */
  | { kind: 'again'; error: KatafleetError; attempt: number }
  | Delivered
);
/** How a copy ended. */
type Delivered = { kind: 'done'; from: string; bytes: number; ms: number } | { kind: 'failed'; error: KatafleetError };
export type Delivery = { image: string; node: string } & Delivered;

export interface DeliverOptions {
  /** Number of nodes that get images at the same time. */
  parallel: number;
  /** Most attempts at one copy. */
  attempts: number;
  /** Copies an image, and checks that the node has it then. */
  bring: (image: string, to: string, from: string, onBytes: (bytes: number) => void) => Promise<void>;
  /** Waits before another attempt. */
  pause: (attempt: number) => Promise<void>;
  onEvent?: (event: CopyEvent) => void;
}

type Bring = Extract<PlannedStep, { kind: 'bring' }>;

/**
 * Carries out the copies of a plan. Several nodes get images at the same time; one node gets its images one after another, each from
 * the least busy source. A node that has received an image becomes a source of it. A failed copy does not stop the others, but a node
 * with a full disk gets no more images. Never rejects: a failure is part of the result.
 */
export async function deliver(plan: readonly PlannedStep[], options: DeliverOptions): Promise<Delivery[]> {
  const steps = plan.filter((step): step is Bring => step.kind === 'bring');
  const sources = new Sources(steps);
  const queue = new PQueue({ concurrency: options.parallel });
  const nodes = [...new Set(steps.map(({ node }) => node))];
  const delivered = nodes.map((node) =>
    queue.add(async () => {
      const own: Delivery[] = [];
      for (const step of steps.filter((candidate) => candidate.node === node)) {
        const last = own.at(-1);
        const full = last?.kind === 'failed' && last.error.code === 'engine.disk_full' ? last.error : undefined;
        const ended: Delivered = full ? { kind: 'failed', error: full } : await bringOne(step, sources, options);
        const delivery: Delivery = { image: step.image, node, ...ended };
        own.push(delivery);
        options.onEvent?.(delivery);
      }
      return own;
    }),
  );
  return (await Promise.all(delivered)).flat();
}

async function bringOne(step: Bring, sources: Sources, { attempts, bring, pause, onEvent }: DeliverOptions): Promise<Delivered> {
  const { image, node } = step;
  const begun = performance.now();
  let brokeOff: string | undefined;
  let before: string | undefined;
  for (let attempt = 1; ; attempt++) {
    const from = sources.take(step, brokeOff);
    let bytes = 0;
    onEvent?.({ kind: 'begun', image, node, from, attempt });
    try {
      await bring(image, node, from, (passed) => {
        bytes = passed;
        onEvent?.({ kind: 'passed', image, node, bytes });
      });
      sources.add(step);
      return { kind: 'done', from, bytes, ms: performance.now() - begun };
    } catch (thrown) {
      const error = thrown instanceof KatafleetError ? thrown : new KatafleetError('internal', messageOf(thrown), { cause: thrown });
      // If an engine refuses an archive twice with the same message (numbers ignored), a third attempt would fail too.
      const refusal = error.code === 'engine.failed' ? error.message.replace(/\d+/g, '') : undefined;
      const again = error.retry && error.code !== 'engine.disk_full' && (refusal === undefined || refusal !== before);
      if (attempt >= attempts || !again) return { kind: 'failed', error };
      before = refusal;
      onEvent?.({ kind: 'again', image, node, error, attempt: attempt + 1 });
    } finally {
      sources.give(from);
    }
    brokeOff = from;
    await pause(attempt);
  }
}

/** The nodes that have each image now, and the number of copies that each node is sending. */
class Sources {
  readonly #having = new Map<string, Set<string>>();
  readonly #busy = new Map<string, number>();

  constructor(steps: readonly Bring[]) {
    for (const step of steps) {
      const having = this.#of(step);
      for (const name of step.from) having.add(name);
    }
  }

  #of({ image, architecture }: Bring): Set<string> {
    const key = JSON.stringify([image, architecture]);
    const having = this.#having.get(key) ?? new Set();
    this.#having.set(key, having);
    return having;
  }

  /** Returns the least busy source; the source that broke off only if there is no other. */
  take(step: Bring, brokeOff: string | undefined): string {
    const load = (name: string) => (this.#busy.get(name) ?? 0) + (name === brokeOff ? 1_000_000 : 0);
    const from = [...this.#of(step)].reduce((best, name) => (load(name) < load(best) ? name : best));
    this.#busy.set(from, (this.#busy.get(from) ?? 0) + 1);
    return from;
  }

  give(name: string): void {
    this.#busy.set(name, (this.#busy.get(name) ?? 1) - 1);
  }

  add(step: Bring): void {
    if (step.handsOn) this.#of(step).add(step.node);
  }
}
