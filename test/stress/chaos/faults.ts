import { writeFileSync } from 'node:fs';
import type { SmallDisk } from '../../support/small-disk.ts';
import type { Testbed } from '../../support/testbed.ts';
import type { EngineProxy } from './proxy.ts';
import type { FaultKind } from './table.ts';

/** A host that can be broken. */
export interface Host {
  bed: Testbed;
  host: string;
  /** The node of katafleet that it belongs to. */
  node: string;
  /** Part of the path of the control groups of its processes. */
  group: string;
  /** Stands before its engine, if it can hang. */
  proxy?: EngineProxy;
  /** A swarm goes on while most of its managers do, so only one of them is broken at a time. */
  isManager: boolean;
}

/** What a fault needs of the storm. */
export interface Grounds {
  hosts: readonly Host[];
  disk: SmallDisk;
  clock: Clock;
  /** Kills katafleet; the function that it returns starts it again. */
  kill: () => Promise<() => Promise<void>>;
}

/** katafleet's wall clock, see clock.mjs. */
export class Clock {
  readonly file: string;
  #shiftMs = 0;

  constructor(file: string) {
    this.file = file;
  }

  /** Hours by which it is ahead. */
  get hours(): number {
    return this.#shiftMs / 3_600_000;
  }

  step(hours: number): void {
    this.#shiftMs += hours * 3_600_000;
    writeFileSync(this.file, String(this.#shiftMs));
  }
}

/** Does at once what cannot fail later. */
const now = (body: () => void): Promise<void> => {
  body();
  return Promise.resolve();
};

/** A fault that can strike now. */
export interface Blow {
  /** The host that it strikes; absent if it strikes katafleet itself. */
  target?: Host;
  strike: () => Promise<unknown>;
  /** Repairs what was broken; absent if there is nothing to repair. */
  mend?: () => Promise<unknown>;
}

/** Finds what each kind of fault can strike. `broken` are the hosts that are broken now. */
export type Faults = Record<FaultKind, (grounds: Grounds, broken: ReadonlySet<Host>) => Blow[]>;

/** Most hosts that are broken at once. */
const mostBroken = 2;

const whole = (grounds: Grounds, broken: ReadonlySet<Host>): Host[] => {
  if (broken.size >= mostBroken) return [];
  const managerIsBroken = Array.from(broken).some(({ isManager }) => isManager);
  return grounds.hosts.filter((host) => !broken.has(host) && !(host.isManager && managerIsBroken));
};

const onHosts = (strike: (host: Host) => Promise<unknown>, mend: (host: Host) => Promise<unknown>) => {
  return (grounds: Grounds, broken: ReadonlySet<Host>): Blow[] =>
    whole(grounds, broken).map((target) => ({ target, strike: () => strike(target), mend: () => mend(target) }));
};

/** Most hours that the clock may be off. */
const mostHours = 2;

const clockBy = (hours: number) => {
  return ({ clock }: Grounds): Blow[] =>
    Math.abs(clock.hours + hours) > mostHours ? [] : [{ strike: () => now(() => clock.step(hours)) }];
};

/** Ends dockerd as systemctl does: with all its containers. Those that do not end in time, it kills. */
const stopEngine = async ({ bed, host }: Host): Promise<void> => {
  const script = 'pid=$(cat /run/docker.pid) && kill -TERM "$pid" && while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done';
  await bed.sh(host, 'timeout', '60', 'sh', '-c', script);
};

const startEngine = ({ bed, host }: Host) => bed.do('start-engine', host);

export const faults: Faults = {
  'kill katafleet': ({ kill }) => {
    let start: () => Promise<void> = () => Promise.resolve();
    return [{ strike: async () => (start = await kill()), mend: () => start() }];
  },
  'kill engine': onHosts(({ bed, host }) => bed.do('kill-engine', host), startEngine),
  'stop engine': onHosts(stopEngine, startEngine),
  'full disk': ({ disk }) => [{ strike: () => now(() => disk.fill()), mend: () => now(() => disk.empty()) }],
  'clock +1 h': clockBy(1),
  'clock -1 h': clockBy(-1),
  'hung create': (grounds, broken) =>
    whole(grounds, broken).flatMap((target) => {
      const { proxy } = target;
      if (!proxy) return [];
      return [{ target, strike: () => now(() => proxy.hang()), mend: () => now(() => proxy.release()) }];
    }),
  'frozen node': onHosts(
    ({ bed, host }) => bed.do('freeze', host),
    ({ bed, host }) => bed.do('thaw', host),
  ),
  'cut node': onHosts(
    ({ bed, host }) => bed.do('cut', host),
    ({ bed, host }) => bed.do('heal', host),
  ),
};
