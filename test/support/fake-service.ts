import type { ByteBudget } from '../../src/base/byte-budget.ts';
import { Placing } from '../../src/model/placing.ts';
import type { RunRequest } from '../../src/model/request.ts';
import { Dispatcher } from '../../src/runs/dispatcher.ts';
import type { DispatcherOptions } from '../../src/runs/dispatcher-options.ts';
import { RunService } from '../../src/runs/service.ts';
import { OutputBudget } from '../../src/runs/room/output-budget.ts';
import { Store } from '../../src/store/store.ts';
import { aRequest } from './builders.ts';
import { fakeFleet, type FakeFleetOptions, MiB } from './fake-fleet.ts';

/** A run service over nodes in memory, with a journal. The journal may be a file that outlives the service. */
export async function fakeService(
  names: string[],
  options: Partial<DispatcherOptions> &
    FakeFleetOptions & { file?: string; requests?: ByteBudget; before?: (fakes: ReturnType<typeof fakeFleet>) => void } = {},
) {
  const { file = ':memory:', requests, before, ...rest } = options;
  const fakes = fakeFleet(names, rest);
  before?.(fakes); // the nodes are probed after this
  const troubles: string[] = [];
  const journal = await Store.open(file, { thread: false, onTrouble: (message) => troubles.push(message) });
  const service = new RunService(
    journal,
    (recorder) =>
      new Dispatcher(fakes.fleet, {
        limits: { runs: 1_000, bytes: 1024 * MiB, perTenant: 1_000 },
        policy: { pack: 'spread' },
        attempts: 3,
        idleMemory: 16 * MiB,
        patient: true,
        recorder,
        ...rest,
      }),
    {
      ...(requests ? { requests } : {}),
      windows: options.output ?? new OutputBudget(64 * MiB),
      onTrouble: (message) => troubles.push(message),
    },
  );
  await fakes.fleet.open();
  /** Ends it like a killed katafleet: nothing more reaches its journal. */
  const crash = async () => {
    await journal.abandon();
    service.dispatcher.stop();
    await fakes.fleet.close();
  };
  const close = async () => {
    service.dispatcher.stop();
    await fakes.fleet.close();
    await service.allEnded();
    await journal.close();
  };
  return { ...fakes, journal, serviceTroubles: troubles, service, crash, close };
}

export const runOf = (argv: string[], more: Partial<RunRequest> = {}): RunRequest => ({
  ...aRequest({ steps: [{ argv }], profile: { memory: 512 * MiB } }),
  ...more,
});
export const placed = (more: Partial<Placing> = {}): Placing => Placing.parse(more);
