import assert from 'node:assert/strict';
import { Placing } from '../../src/model/placing.ts';
import { Dispatcher } from '../../src/runs/dispatcher.ts';
import type { DispatcherOptions } from '../../src/runs/dispatcher-options.ts';
import { checkJob } from '../../src/runs/job.ts';
import { noRecorder, type Recorder } from '../../src/runs/life/records.ts';
import { aRequest } from './builders.ts';
import { fakeFleet, type FakeFleetOptions, MiB } from './fake-fleet.ts';

export function jobOf(
  argv: string[] = ['echo', 'hi'],
  { memory = 512 * MiB, image = 'any', cpus = 1, ...placing }: { memory?: number; image?: string; cpus?: number } & Partial<Placing> = {},
) {
  return checkJob(aRequest({ image, steps: [{ argv }], profile: { memory, cpus } }), Placing.parse(placing));
}

/** Returns a dispatcher over ready nodes in memory, and the list of what it recorded. */
export async function dispatching(names: string[], options: Partial<DispatcherOptions> & FakeFleetOptions = {}) {
  const fakes = fakeFleet(names, options);
  const book: string[] = [];
  const wrote = (line: string) => Promise.resolve(book.push(line) > 0);
  const recorder: Recorder = {
    ...noRecorder,
    begin: async (_id, attempt, { node }) => void book.push(`begin ${attempt} on ${node}`),
    lost: (_id, attempt) => wrote(`lost ${attempt}`),
    stopped: (_id, attempt) => wrote(`stopped ${attempt}`),
    finish: (_id, attempt) => wrote(`finish ${attempt}`),
    fail: (_id, attempt, { code }) => wrote(`fail ${attempt ?? '-'}: ${code}`),
    cancel: () => wrote('cancel'),
  };
  const dispatcher = new Dispatcher(fakes.fleet, {
    limits: { runs: 1_000, bytes: 1024 * MiB, perTenant: 1_000 },
    policy: { pack: 'spread' },
    attempts: 3,
    idleMemory: 16 * MiB,
    patient: true,
    recorder,
    random: () => 0,
    ...options,
  });
  await fakes.fleet.open();
  const nodeOf = () => names.find((name) => fakes.driver(name).holding > 0) ?? '';
  /** Makes a node look powered off: its streams break, its calls fail, and its health check has noticed. */
  const lose = async (name: string) => {
    fakes.driver(name).faults = { unreachable: true };
    await fakes.look(name, 3);
  };
  const close = async () => {
    dispatcher.stop();
    await fakes.fleet.close();
    for (const name of names) assert.equal(fakes.fleet.cluster.node(name)?.booked ?? 0, 0, `the books of ${name} close at zero`);
  };
  return { ...fakes, dispatcher, book, nodeOf, lose, close };
}
