import { MiB } from '../../src/base/units.ts';
import { Starts } from '../../src/fleet/pools/starts.ts';
import { VirtualClock } from '../simulation/clock.ts';

/** One turn of the event loop. */
export const turn = () => new Promise((resolve) => setImmediate(resolve));

/** Starts that are over when the test says so. */
export function slots(concurrency: number) {
  const clock = new VirtualClock();
  const starts = new Starts(concurrency, clock);
  const begun: string[] = [];
  const underWay: (() => void)[] = [];
  const ask = (name: string, tenant: string | undefined, priority = 5, signal?: AbortSignal, memory = 1024 * MiB) => {
    const start = () => {
      begun.push(name);
      return new Promise<string>((resolve) => underWay.push(() => resolve(name)));
    };
    return starts.add(start, tenant === undefined ? undefined : { tenant, priority, memory }, signal);
  };
  const finish = async () => {
    underWay.shift()?.();
    await turn();
  };
  return { clock, starts, begun, underWay, ask, finish };
}
