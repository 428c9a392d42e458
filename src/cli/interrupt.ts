/**
 * Does work that Ctrl-C and SIGTERM end in order: the signal is aborted once, and what the work holds is given back before
 * the process ends. A second Ctrl-C ends it at once.
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
