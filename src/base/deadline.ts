import type { Clock } from './clock.ts';

/** Where somebody waits for the end of the time, the process stays alive for it. */
const aliveClock: Pick<Clock, 'after'> = {
  after: (ms, call) => {
    const timer = setTimeout(call, ms);
    return { cancel: () => clearTimeout(timer) };
  },
};

export interface WithinOptions {
  signals?: readonly (AbortSignal | undefined)[];
  /** Makes the error of the time that is over. */
  late?: () => Error;
  clock?: Pick<Clock, 'after'>;
}

/** What takes too long, unless the caller has better words. */
const tooLate = (ms: number) => new Error(`it took longer than ${ms} ms`);

/**
 * What `work` comes to, or the signal's reason as soon as that aborts, whether or not the work heeds it. The listener is taken
 * off in every case. @throws what the work throws, the signal's reason
 */
export async function abortable<T>(signal: AbortSignal | undefined, work: Promise<T>): Promise<T> {
  if (!signal) return work;
  work.catch(() => undefined); // its failure after the abort is nobody's any more
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
 * Does work with one signal that aborts as soon as any of these does. In place of AbortSignal.any, which loses a timeout to the
 * garbage collector and leaves something behind on a signal that lives long (nodejs/node#57736).
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
 * Does work for at most `ms`, and no longer than until one of the signals aborts; its own signal tells it to end. The time is a
 * timer's that keeps the process alive, or the clock's.
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
