import type { Clock } from './clock.ts';

/** A clock whose timers keep the process alive, because a caller waits for them. */
export const aliveClock: Pick<Clock, 'after'> = {
  after: (ms, call) => {
    const timer = setTimeout(call, ms);
    return { cancel: () => clearTimeout(timer) };
  },
};

export interface WithinOptions {
  signals?: readonly (AbortSignal | undefined)[];
  /** Makes the error that is thrown when the time is over. */
  late?: () => Error;
  clock?: Pick<Clock, 'after'>;
}

/** The error when the time is over and the caller gives none. */
const tooLate = (ms: number) => new Error(`it took longer than ${ms} ms`);

/**
 * Returns what `work` resolves to. Rejects with the signal's reason as soon as the signal aborts, even if the work goes on. Always
 * removes its listener. @throws what the work throws, the signal's reason
 */
export async function abortable<T>(signal: AbortSignal | undefined, work: Promise<T>): Promise<T> {
  if (!signal) return work;
  work.catch(() => undefined); // after the abort, its failure is ignored
  signal.throwIfAborted();
  let stop!: () => void;
  const aborted = new Promise<never>((_resolve, reject) => {
    stop = () => reject(signal.reason as Error);
    signal.addEventListener('abort', stop, { once: true });
  });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

/**
 * Does work with one signal that aborts as soon as any of the given signals does. AbortSignal.any is not used: the garbage collector
 * can take a timeout from it, and it leaks memory on a signal that lives long (nodejs/node#57736).
 */
export async function withSignals<T>(signals: readonly (AbortSignal | undefined)[], work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const joined = new AbortController();
  const given = signals.filter((signal) => signal !== undefined);
  const stops = given.map((signal) => {
    const stop = () => joined.abort(signal.reason);
    if (signal.aborted) stop();
    else signal.addEventListener('abort', stop, { once: true });
    return () => signal.removeEventListener('abort', stop);
  });
  try {
    return await work(joined.signal);
  } finally {
    for (const stop of stops) stop();
  }
}

/**
 * Does work for at most `ms`, or until one of the signals aborts. The work's own signal aborts then. Without a `clock` the timer keeps
 * the process alive.
 * @throws what the work throws, a signal's reason, or what `late` makes when the time is over
 */
export async function within<T>(
  ms: number,
  work: (signal: AbortSignal) => Promise<T>,
  { signals = [], late = () => tooLate(ms), clock = aliveClock }: WithinOptions = {},
): Promise<T> {
  const time = new AbortController();
  const timer = clock.after(ms, () => time.abort(late()));
  try {
    return await withSignals([time.signal, ...signals], async (signal) => {
      signal.throwIfAborted();
      return abortable(signal, work(signal));
    });
  } finally {
    timer.cancel();
  }
}
