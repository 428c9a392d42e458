import { Backoff } from '../../base/backoff.ts';
import { type Clock, steadyClock, type Timer } from '../../base/clock.ts';
import { KatafleetError } from '../../model/errors.ts';
import type { SandboxSpec } from '../../drivers/contract.ts';

/** The image and limits of a sandbox, and how long it waits: enough to start another one like it. */
export type StartShape = Pick<SandboxSpec, 'image' | 'limits' | 'idleMs'>;

export interface StartWatchOptions {
  /** How long one start may take, ms; for messages. */
  startMs: number;
  /** Starts a sandbox like this one and removes it. @throws engine.* */
  canary: (shape: StartShape) => Promise<void>;
  /** Called when the engine is found to start nothing. */
  onStuck: (error: KatafleetError) => void;
  /** Called when a canary has shown that the engine starts sandboxes again. */
  onFree: () => void;
  clock?: Clock;
}

/** So many late starts in a row show that the engine starts nothing. */
const lateInARow = 2;
/** A canary is tried after this share of the longest start; each that fails doubles the pause, up to the whole. */
const firstShare = 1 / 12;

/**
 * Finds out an engine that answers a ping and hangs when it is to start a sandbox, as one whose storage is stuck does. After two late
 * starts in a row nothing is started but a single canary from time to time, until one succeeds. A refusal is an answer too.
 */
export class StartWatch {
  readonly #options: StartWatchOptions;
  readonly #clock: Clock;
  readonly #backoff: Backoff;
  #late = 0;
  #stuck: KatafleetError | undefined;
  #next: Timer | undefined;

  constructor(options: StartWatchOptions) {
    this.#options = options;
    this.#clock = options.clock ?? steadyClock;
    this.#backoff = new Backoff({ firstMs: firstShare * options.startMs, mostMs: options.startMs });
  }

  /** Why nothing is started now; undefined while the engine starts sandboxes. */
  get stuck(): KatafleetError | undefined {
    return this.#stuck;
  }

  /** Notes that a start has ended in time, or that the engine has refused it. */
  answered(): void {
    this.#late = 0;
  }

  /** Notes that a start has not ended in time. */
  late(shape: StartShape): void {
    this.#late += 1;
    if (this.#late < lateInARow || this.#stuck) return;
    this.#stuck = new KatafleetError(
      'engine.timeout',
      `the engine answers and starts no sandbox: ${lateInARow} starts in a row did not end within ${this.#options.startMs / 1000} s`,
      { hint: "its storage may hang: look at the engine's log, or start the engine anew. katafleet tries one sandbox from time to time" },
    );
    this.#later(shape);
    this.#options.onStuck(this.#stuck);
  }

  #later(shape: StartShape): void {
    this.#next = this.#clock.after(this.#backoff.failed(), () => void this.#try(shape));
  }

  async #try(shape: StartShape): Promise<void> {
    const asked = this.#stuck;
    try {
      await this.#options.canary(shape);
    } catch (error) {
      if (this.#stuck !== asked) return; // the node was given up meanwhile
      const refused =
        error instanceof KatafleetError && !['engine.timeout', 'engine.unreachable', 'node.full', 'node.lost'].includes(error.code);
      if (!refused) {
        this.#later(shape);
        return;
      }
    }
    if (this.#stuck !== asked) return;
    this.reset();
    this.#options.onFree();
  }

  /** Forgets what it has seen, and tries no canary: the node is given up, or is used anew. */
  reset(): void {
    this.#next?.cancel();
    this.#late = 0;
    this.#stuck = undefined;
    this.#backoff.succeeded();
  }
}
