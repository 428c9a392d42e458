import PQueue from 'p-queue';
import { KatafleetError, messageOf } from '../model/errors.ts';
import { CopyTurns } from '../fleet/inventory/copy-turns.ts';
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
  /** Plans the copies, with those of others; a plan of its own if absent. */
  turns?: CopyTurns;
  /** Copies an image, and checks that the node has it then. */
  bring: (image: string, to: string, from: string, onBytes: (bytes: number) => void) => Promise<void>;
  /** Waits before another attempt. */
  pause: (attempt: number) => Promise<void>;
  onEvent?: (event: CopyEvent) => void;
}

type Bring = Extract<PlannedStep, { kind: 'bring' }>;

/**
 * Carries out the copies of a plan. Several nodes get images at the same time; one node gets its images one after another, each from
 * the least busy source, as {@link CopyTurns} plans. A node that has received an image becomes a source of it. A failed copy does not stop the others, but a node
 * with a full disk gets no more images. Never rejects: a failure is part of the result.
 */
export async function deliver(plan: readonly PlannedStep[], options: DeliverOptions): Promise<Delivery[]> {
  const steps = plan.filter((step): step is Bring => step.kind === 'bring');
  const sources = new Sources(steps);
  const { turns = new CopyTurns() } = options;
  turns.limits.fleet = Math.max(options.parallel, options.turns?.limits.fleet ?? 0);
  const queue = new PQueue({ concurrency: options.parallel });
  const nodes = [...new Set(steps.map(({ node }) => node))];
  const delivered = nodes.map((node) =>
    queue.add(async () => {
      const own: Delivery[] = [];
      for (const step of steps.filter((candidate) => candidate.node === node)) {
        const last = own.at(-1);
        const full = last?.kind === 'failed' && last.error.code === 'engine.disk_full' ? last.error : undefined;
        const ended: Delivered = full ? { kind: 'failed', error: full } : await bringOne(step, sources, turns, options);
        const delivery: Delivery = { image: step.image, node, ...ended };
        own.push(delivery);
        options.onEvent?.(delivery);
      }
      return own;
    }),
  );
  return (await Promise.all(delivered)).flat();
}

async function bringOne(step: Bring, sources: Sources, turns: CopyTurns, options: DeliverOptions): Promise<Delivered> {
  const { image, node } = step;
  const { attempts, bring, pause, onEvent } = options;
  const begun = performance.now();
  let brokeOff: string | undefined;
  let before: string | undefined;
  for (let attempt = 1; ; attempt++) {
    const turn = await turns.take(node, () => sources.of(step), { last: new Set(brokeOff === undefined ? [] : [brokeOff]) });
    if (!turn) return { kind: 'failed', error: new KatafleetError('image.unknown', `no node has the image ${image}`) };
    const { from } = turn;
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
      turn.done();
    }
    brokeOff = from;
    await pause(attempt);
  }
}

/** The nodes that have each image now: those of the plan, and those that have received it. */
class Sources {
  readonly #having = new Map<string, Set<string>>();

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

  of(step: Bring): string[] {
    return [...this.#of(step)];
  }

  add(step: Bring): void {
    if (step.handsOn) this.#of(step).add(step.node);
  }
}
