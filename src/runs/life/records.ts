import { KatafleetError, messageOf } from '../../model/errors.ts';
import { notCounted } from '../../model/record.ts';
import type { RunStore } from '../../model/run-store.ts';
import type { AttemptAt, LifeEvent, RunEnding } from './life.ts';

/** The part of the store that records attempts and ends. */
export type Recorder = Pick<RunStore, 'takes' | 'onTakes' | 'begin' | 'lost' | 'stopped' | 'finish' | 'fail' | 'cancel'>;

/** Records nothing, for runs that end with their process. */
export const noRecorder: Recorder = {
  takes: true,
  onTakes: () => undefined,
  begin: () => Promise.resolve(),
  lost: () => Promise.resolve(true),
  stopped: () => Promise.resolve(true),
  finish: () => Promise.resolve(true),
  fail: () => Promise.resolve(true),
  cancel: () => Promise.resolve(true),
};

/** Writes what a run's life wants to be written, and tells the run when it is committed. */
export class Records {
  readonly #recorder: Recorder;

  constructor(recorder: Recorder) {
    this.#recorder = recorder;
  }

  /** Whether attempts may begin. */
  get takes(): boolean {
    return this.#recorder.takes;
  }

  /** Nobody waits for this write. The store keeps the order: what follows is written after it. */
  begin(id: string, { attempt, node, warm, resumed }: AttemptAt, tell: (event: LifeEvent) => void): void {
    const where = { node, resumed, ...(warm === undefined ? {} : { warm }) };
    this.#recorder.begin(id, attempt, where, Date.now()).catch((error: unknown) => tell(unwritable(error)));
  }

  loss(id: string, attempt: number, { reason, counts }: { reason: string; counts: boolean }, tell: (event: LifeEvent) => void): void {
    this.#recorder.lost(id, attempt, `${counts ? '' : notCounted}${reason}`, Date.now()).then(
      (current) => tell({ type: 'recorded', attempt, current }),
      (error: unknown) => tell(unwritable(error)),
    );
  }

  end(id: string, end: RunEnding, tell: (event: LifeEvent) => void): void {
    this.#write(id, end, Date.now()).then(
      (current) => tell({ type: 'written', current }),
      (error: unknown) => tell(unwritable(error)),
    );
  }

  #write(id: string, end: RunEnding, at: number): Promise<boolean> {
    const recorder = this.#recorder;
    switch (end.kind) {
      case 'finished':
        return recorder.finish(id, end.attempt, end.result, at);
      case 'cancelled':
        return recorder.cancel(id, at);
      case 'left':
        return end.attempt === undefined ? Promise.resolve(true) : recorder.stopped(id, end.attempt, at);
      case 'failed': {
        const { code, message, hint } = end.error;
        return recorder.fail(id, end.attempt, { code, message, ...(hint === undefined ? {} : { hint }) }, at);
      }
      case 'refused':
        return Promise.resolve(true);
    }
  }

  /** Takes back a run that was stored after its client had been refused. */
  withdraw(id: string): void {
    this.#recorder.cancel(id, Date.now()).catch(() => undefined); // the next start takes it up, which is no harm
  }
}

const unwritable = (cause: unknown): LifeEvent => ({
  type: 'unwritable',
  error: cause instanceof KatafleetError ? cause : new KatafleetError('journal.broken', messageOf(cause), { cause }),
});
