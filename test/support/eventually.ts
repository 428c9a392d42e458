import { setTimeout as sleep } from 'node:timers/promises';

const everyMs = 50;

/**
 * What `look` finds, as soon as it finds something. @throws when it has not after so many seconds, with what it said last:
 * a look that throws says what is still missing
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
