/**
 * Runs work that Ctrl-C and SIGTERM end in order. The first signal aborts it, and the process ends after the work has released what it
 * holds. A second Ctrl-C ends the process at once.
 */
export async function interruptible<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const ending = new AbortController();
  const stop = () => ending.abort(new Error('interrupted'));
  process.once('SIGINT', stop).once('SIGTERM', stop);
  try {
    return await work(ending.signal);
  } finally {
    process.off('SIGINT', stop).off('SIGTERM', stop);
  }
}
