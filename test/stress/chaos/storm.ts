import { setTimeout as sleep } from 'node:timers/promises';
import { eventually } from '../../support/eventually.ts';
import { seeded } from '../../support/random.ts';
import { Service } from '../../support/service.ts';
import { Clients } from '../load/clients.ts';
import { type Finding, findings } from '../load/history.ts';
import { markProcesses } from '../load/left-over.ts';
import { type Order, orders } from '../load/orders.ts';
import { Witness } from '../load/witness.ts';
import { type Blow, faults, type Host } from './faults.ts';
import { diskBytes, Ground, type Injection } from './ground.ts';
import { leftOver } from './left-over.ts';
import { Tracker, type Where } from './states.ts';
import { type FaultKind, faultKinds, nextPair, type RunState, StrikeTable } from './table.ts';

/** How long a strike waits for a run in the state that it seeks, ms. */
const seekMs = 4_000;
/** Longest time for all hosts to be ready, and for all acknowledged runs to end, after the last fault, s. */
const calmSeconds = 180;

export interface Storm {
  seed: number;
  minutes: number;
  clients: number;
  hosts: number;
  swarm: number;
  /** The faults that strike; all if absent. */
  kinds?: readonly FaultKind[];
  inject?: Injection | undefined;
  told?: (line: string) => void;
}

export interface StormReport {
  table: StrikeTable;
  findings: Finding[];
  surprises: string[];
  leftOver: string[];
  /** What did not come back to order: a node, katafleet's start, a run. */
  troubles: string[];
  acknowledged: number;
  /** Ends of the stored runs, by state and error. */
  ends: Map<string, number>;
  executions: number;
  attempts: number;
  log: string;
}

/** Submits runs while faults strike, repairs everything, waits for the ends, and tells what is wrong. */
export async function storm(options: Storm): Promise<StormReport> {
  const mark = markProcesses();
  const ground = await Ground.make({ ...options, diskBytes, copies: Math.ceil(options.minutes * 8) });
  let report;
  try {
    report = await stormOver(ground, mark, options);
  } finally {
    await ground[Symbol.asyncDispose]();
  }
  return { ...report, leftOver: [...report.leftOver, ...ground.remains()] };
}

async function stormOver(ground: Ground, mark: string, options: Storm): Promise<StormReport> {
  const { seed, told = () => undefined } = options;
  await using service = await Service.start(await ground.config(), ground.words);
  await ready(service, ground.nodes);
  using witness = new Witness();
  const random = seeded(seed);
  const clients = new Clients(service, orders({ random: seeded(seed + 1), leaves: 0.1, waits: 0.1, more: placesOf(ground) }));
  using tracker = new Tracker(service, clients, witness, ground.copies);
  const weather = new Weather({ ...options, ground, service, tracker, random });
  clients.start(options.clients);
  try {
    await weather.go();
    told('calm: everything is repaired');
    const troubles = [...weather.troubles];
    await ready(service, ground.nodes).catch((error: unknown) => troubles.push(messageOf(error)));
    const late = setTimeout(() => clients.leave(), calmSeconds * 1_000);
    await clients.finish();
    clearTimeout(late);
    await noRuns(service, options.inject ? 10 : calmSeconds).catch((error: unknown) => troubles.push(messageOf(error)));
    const kept = await clients.kept();
    const found = findings({ submissions: clients.submissions, kept, executions: witness.executions, kills: weather.kills });
    const left = await leftOver({ ground, service, mark });
    return {
      table: weather.table,
      findings: found,
      surprises: clients.surprises,
      leftOver: left,
      troubles,
      acknowledged: clients.submissions.filter((one) => one.told.length > 0).length,
      ends: countEnds(kept),
      executions: witness.executions.filter(({ nonce }) => clients.submissions.some((one) => one.nonce === nonce)).length,
      attempts: kept.reduce((sum, { attempts }) => sum + attempts.length, 0),
      log: service.log,
    };
  } finally {
    clients.leave();
    await weather.clear();
    await clients.finish();
  }
}

const MiB = 1024 ** 2;

/**
 * Sets runs apart, so that all states last. Two of three go to one node: each node has some, and a broken one makes a queue. Some need an
 * image that their node lacks, some a sandbox of a shape that no pool has, and some are slow, so that collecting takes long.
 */
function placesOf({ nodes, copies }: Ground): (random: () => number) => Pick<Order, 'body' | 'node' | 'copied'> {
  let shape = 0;
  const receivers = nodes.filter((node) => node !== 'swarm' && node !== copies?.holder);
  return (random) => {
    const any = random() < 0.67 ? nodes[Math.floor(random() * nodes.length)] : undefined;
    const copied = random() < 0.06 ? copies?.take() : undefined;
    const node = copied === undefined ? any : receivers[Math.floor(random() * receivers.length)];
    const kind = random();
    const profile =
      kind < 0.3
        ? { profile: { memory: 64 * MiB, pids: 64 + ((shape += 1) % 6) } }
        : kind < 0.45
          ? { profile: { memory: 64 * MiB, cpus: 0.1, wallMs: 60_000 } }
          : {};
    const constraint = node === undefined ? {} : { constraints: [`place==${node}`] };
    return {
      ...(node === undefined ? {} : { node }),
      ...(copied === undefined ? {} : { copied }),
      body: { ...profile, ...constraint, ...(copied === undefined ? {} : { image: copied }) },
    };
  };
}

const ready = (service: Service, names: readonly string[]) =>
  eventually('every node is ready', calmSeconds, async () => {
    const nodes = await service.nodes();
    const not = names.filter((name) => nodes[name]?.state !== 'ready');
    if (not.length > 0)
      throw new Error(not.map((name) => `${name}: ${nodes[name]?.state} ${JSON.stringify(nodes[name]?.trouble)}`).join('; '));
  });

const noRuns = (service: Service, seconds: number) =>
  eventually('no run is under way', seconds, async () => {
    const { counts } = await service.call<{ counts: Record<string, number> }>('GET', '/v1/runs?limit=1');
    if ((counts['waiting'] ?? 0) + (counts['running'] ?? 0) > 0) throw new Error(JSON.stringify(counts));
  });

const messageOf = (error: unknown): string =>
  error instanceof Error ? `${error.message}${error.cause instanceof Error ? `: ${error.cause.message}` : ''}` : String(error);

function countEnds(kept: readonly { state: string; error?: string }[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { state, error } of kept) {
    const end = error === undefined ? state : `${state} ${error.replace(/:.*/s, '')}`;
    counts.set(end, (counts.get(end) ?? 0) + 1);
  }
  return counts;
}

interface WeatherOptions extends Storm {
  ground: Ground;
  service: Service;
  tracker: Tracker;
  random: () => number;
}

/** Strikes and repairs, for as long as the storm lasts. */
class Weather {
  readonly table = new StrikeTable();
  readonly kills: number[] = [];
  readonly troubles: string[] = [];
  readonly #options: WeatherOptions;
  /** Repairs that are due, each with what it repairs. */
  readonly #due = new Map<symbol, { kind: FaultKind; target: Host | undefined; mended: Promise<void>; now: () => void }>();

  constructor(options: WeatherOptions) {
    this.#options = options;
  }

  async go(): Promise<void> {
    const { minutes, random, tracker, kinds = faultKinds, told = () => undefined } = this.#options;
    const until = performance.now() + minutes * 60_000;
    while (performance.now() < until) {
      await sleep(200 + random() * 1_500); // so that a strike hits a run at any moment
      await this.#revive();
      const pair = nextPair(
        this.table,
        kinds.filter((kind) => this.#blows(kind).length > 0),
        random,
      );
      if (!pair) continue;
      const { blow, met } = await this.#seek(pair.fault, pair.state);
      if (!blow) continue;
      this.table.add(pair.fault, met);
      const place = blow.target ? ` ${blow.target.node}${blow.target.isManager ? `/${blow.target.host}` : ''}` : '';
      told(`${pair.fault}${place}, for ${pair.state}: met ${met.join(' ') || 'nothing'}; ${tracker.now().length} runs live`);
      this.#strike(pair.fault, blow);
    }
    await this.clear();
  }

  /** Repairs everything now. */
  async clear(): Promise<void> {
    for (const { now } of this.#due.values()) now();
    await Promise.all(Array.from(this.#due.values(), ({ mended }) => mended));
  }

  #blows(kind: FaultKind): Blow[] {
    const { ground, service } = this.#options;
    const under = Array.from(this.#due.values());
    if (under.some((one) => one.kind === kind && one.target === undefined)) return []; // it goes on
    const broken = new Set(under.flatMap(({ target }) => target ?? []));
    const { hosts, disk, clock } = ground;
    return faults[kind]({ hosts, disk, clock, kill: () => this.#kill(service) }, broken);
  }

  /** Waits until a blow of this kind meets a run in this state, for a while; then takes any. */
  async #seek(kind: FaultKind, state: RunState): Promise<{ blow?: Blow; met: RunState[] }> {
    const { tracker, random } = this.#options;
    const giveUp = performance.now() + seekMs;
    for (;;) {
      const where = tracker.now();
      const blows = shuffled(this.#blows(kind), random).map((blow) => ({ blow, met: metBy(blow.target, where) }));
      const fits = blows.find(({ met }) => met.includes(state));
      if (fits) return fits;
      if (performance.now() > giveUp) return blows[0] ?? { met: [] };
      await sleep(5);
    }
  }

  #strike(kind: FaultKind, { strike, mend, target }: Blow): void {
    const { random, told = () => undefined } = this.#options;
    const [least, most] = lasts[kind];
    const length = least + random() * (most - least);
    const key = Symbol(kind);
    const early = new AbortController();
    const fails = (error: unknown) => {
      this.troubles.push(`${kind} ${target?.node ?? ''}: ${messageOf(error)}`);
      told(this.troubles.at(-1) ?? '');
    };
    const mended = Promise.resolve()
      .then(strike)
      .catch(fails)
      .then(() => mend && sleep(length, undefined, { signal: early.signal }).catch(() => undefined))
      .then(mend)
      .catch(fails)
      .finally(() => this.#due.delete(key));
    this.#due.set(key, { kind, target, mended: mended.then(() => undefined), now: () => early.abort() });
  }

  /** Starts katafleet again if it has ended, which it may not do by itself. */
  async #revive(): Promise<void> {
    const { service } = this.#options;
    if (service.diedWith === undefined || this.#isUnder('kill katafleet')) return;
    this.troubles.push(`katafleet ended by itself with ${service.diedWith}: ${service.log}`);
    this.kills.push(performance.now());
    await service.start();
  }

  #isUnder(kind: FaultKind): boolean {
    return Array.from(this.#due.values()).some((one) => one.kind === kind);
  }

  async #kill(service: Service): Promise<() => Promise<void>> {
    this.kills.push(performance.now());
    await service.kill();
    // While its disk is full it may refuse to start. Whatever looks after it starts it again.
    return async () => {
      for (;;) {
        const isFull = this.#isUnder('full disk');
        try {
          await service.start();
          return;
        } catch (error) {
          if (!isFull) throw error;
        }
      }
    };
  }
}

/** How long each fault lasts, least and most ms. */
const lasts: Record<FaultKind, readonly [number, number]> = {
  'kill katafleet': [0, 500],
  'kill engine': [0, 4_000],
  'stop engine': [0, 4_000],
  'full disk': [1_000, 6_000],
  'clock +1 h': [0, 0],
  'clock -1 h': [0, 0],
  'hung create': [2_000, 12_000],
  'frozen node': [1_000, 12_000],
  'cut node': [1_000, 12_000],
};

/** States of the runs that a blow meets: on its host, or in the queue; all if it strikes katafleet. */
function metBy(target: Host | undefined, all: readonly Where[]): RunState[] {
  const meets = ({ state, node, groups }: Where) => {
    if (target === undefined || state === 'queued') return true;
    return groups === undefined ? node === target.node : groups.includes(target.group);
  };
  return all.filter(meets).map(({ state }) => state);
}

function shuffled<T>(all: readonly T[], random: () => number): T[] {
  return all
    .map((one) => ({ one, at: random() }))
    .sort((a, b) => a.at - b.at)
    .map(({ one }) => one);
}
