import { setTimeout as sleep } from 'node:timers/promises';

const everyMs = 50;

/**
 * Calls `look` until it does not throw, and returns its value. The error that `look` throws says what is still missing.
 * @throws an error with that one as its cause, after this many seconds
 */
export async function eventually<T>(what: string, seconds: number, look: () => Promise<T>): Promise<T> {
  const until = performance.now() + seconds * 1000;
  for (;;) {
    try {
      return await look();
    } catch (error) {
      if (performance.now() > until) throw new Error(`${what}: not after ${seconds} s`, { cause: error });
      await sleep(everyMs);
    }
  }
}
