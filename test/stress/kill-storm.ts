import Dockerode from 'dockerode';
import { setTimeout as sleep } from 'node:timers/promises';
import { seeded } from '../support/random.ts';
import { eventually } from '../support/eventually.ts';
import { type RunAnswer, Service } from '../support/service.ts';
import { Clients } from './load/clients.ts';
import { type Finding, findings } from './load/history.ts';
import { strayFiles } from './load/left-over.ts';
import { orders } from './load/orders.ts';
import { Witness } from './load/witness.ts';

/** Share of the kills that come at any moment from the start of the process, so that some die while they start. */
const early = 0.3;
const earlyMs = 2_000;
/** The other kills come at any moment of this time, ms, after so many requests were acknowledged, at most. So the load goes on. */
const lateMs = 500;
const mostAcknowledged = 8;
/** Longest time until requests are acknowledged after a start, s. */
const progressSeconds = 120;
/** Longest time for all acknowledged runs to end after the last kill, s. */
const drainSeconds = 300;

/** Longest time for the containers of killed processes to be removed, s. They are looked for once per minute. */
const sweepSeconds = 150;

export interface KillStorm {
  endpoint: string;
  kills: number;
  clients: number;
  seed: number;
  told?: (line: string) => void;
  /** The words that start katafleet. */
  words?: readonly string[];
}

export interface KillReport {
  findings: Finding[];
  /** Answers that a client does not expect. */
  surprises: string[];
  acknowledged: number;
  /** Requests without an answer, whether their run was stored or not. */
  unacknowledged: { stored: number; notStored: number };
  /** Requests that were executed, and how many of them more than once. */
  executed: { once: number; again: number };
  /** How many processes died before they served. */
  diedInStart: number;
  /** Containers of katafleet that are still there after it has ended in order. */
  leftOver: string[];
}

/**
 * Kills katafleet at random moments of its life while clients submit runs, and starts it again each time. Afterwards every acknowledged
 * run must be there with one end, and the same end for everybody who was told it. Requests without an answer are sent again at the end:
 * those that were stored must be known, and those that were not must not have been executed. @throws what the service's last start does
 */
export async function killStorm({ endpoint, kills, clients: count, seed, told = () => undefined, words }: KillStorm): Promise<KillReport> {
  const random = seeded(seed);
  await using service = await Service.start(config(endpoint), words);
  using witness = new Witness();
  const clients = new Clients(service, orders({ random: seeded(seed + 1), leaves: 0.5, waits: 0.3 }));
  clients.start(count);
  const deaths: number[] = [];
  let diedInStart = 0;
  try {
    let starting = new Start(Promise.resolve());
    for (let kill = 0; kill < kills; kill += 1) {
      if (random() < early) await sleep(random() * earlyMs);
      else {
        const enough = clients.acknowledged + 1 + Math.floor(random() * mostAcknowledged);
        await eventually('requests are acknowledged', progressSeconds, async () => {
          if (clients.acknowledged < enough && !starting.failure) throw new Error(service.log);
        });
        await sleep(random() * lateMs);
      }
      if (starting.failure) throw starting.failure; // by itself, not by a kill
      if (!starting.served) diedInStart += 1;
      deaths.push(performance.now());
      await service.kill();
      await starting.over;
      starting = new Start(service.start());
      if ((kill + 1) % 20 === 0) told(`${kill + 1} kills; ${clients.submissions.length} requests, ${clients.ended} runs ended`);
    }
    await starting.over;
    if (starting.failure) throw starting.failure;
    const late = setTimeout(() => clients.leave(), drainSeconds * 1_000);
    await clients.finish();
    clearTimeout(late);
    await drained(service);
    const report = await verdict({ clients, service, witness, deaths });
    return { ...report, diedInStart, leftOver: await leftOver(service, endpoint) };
  } finally {
    clients.leave();
    await clients.finish();
  }
}

/** A start of katafleet, under way or over. */
class Start {
  served = false;
  failure: Error | undefined;
  /** Resolves when it serves or has failed. */
  readonly over: Promise<void>;

  constructor(starting: Promise<void>) {
    this.over = starting.then(
      () => void (this.served = true),
      (error: unknown) => void (this.failure = error as Error),
    );
  }
}

const config = (endpoint: string) => ({
  nodes: [{ name: 'one', endpoint }],
  profiles: { small: { memory: '64m' } },
  pools: [{ image: 'build-essential', profile: 'small', idle: { min: 2, max: 4 } }],
  reaping: { grace: '2s' },
  // A run in which katafleet died so often is taken for what ended it. Here it is not the runs that do.
  retries: { attempts: 100 },
  queue: { wait: '1h' },
});

/** Waits until no run is under way, stored ones of clients who left included. Those that never end are for the checker to find. */
async function drained(service: Service): Promise<void> {
  await eventually('no run is under way', drainSeconds, async () => {
    const { counts } = await service.call<{ counts: Record<string, number> }>('GET', '/v1/runs?limit=1');
    const left = (counts['waiting'] ?? 0) + (counts['running'] ?? 0);
    if (left > 0) throw new Error(`${left} runs`);
  }).catch(() => undefined);
}

interface After {
  clients: Clients;
  service: Service;
  witness: Witness;
  deaths: number[];
}

async function verdict({ clients, service, witness, deaths }: After): Promise<Omit<KillReport, 'diedInStart' | 'leftOver'>> {
  const { submissions } = clients;
  const unanswered = submissions.filter(({ told }) => told.length === 0);
  const history = async () => ({ submissions, kept: await clients.kept(), executions: witness.executions, kills: deaths });
  const before = await history();
  const found = findings(before);
  const stored = new Map(before.kept.map(({ key, id }) => [key, id]));
  let storedCount = 0;
  // The same key again, as a client would that had no answer.
  for (const { key } of unanswered) {
    const was = stored.get(key);
    if (was !== undefined) storedCount += 1;
    const answer = await clients.again(key);
    const run: RunAnswer = await service.ended(answer);
    if (was !== undefined && run.id !== was)
      found.push({ kind: 'doubled', key, text: `it was stored as ${was}, and sent again is ${run.id}` });
  }
  found.push(...findings(await history()));
  const times = (nonce: string) => witness.executions.filter((one) => one.nonce === nonce).length;
  const executed = submissions.map(({ nonce }) => times(nonce));
  return {
    findings: Array.from(new Map(found.map((one) => [JSON.stringify(one), one])).values()),
    surprises: clients.surprises,
    acknowledged: submissions.length - unanswered.length,
    unacknowledged: { stored: storedCount, notStored: unanswered.length - storedCount },
    executed: { once: executed.filter((n) => n === 1).length, again: executed.filter((n) => n > 1).length },
  };
}

/** Returns what is still there when all runs have ended, and after katafleet has ended in order. */
async function leftOver(service: Service, endpoint: string): Promise<string[]> {
  const left: string[] = [];
  await eventually('only idle sandboxes are there', sweepSeconds, async () => {
    const { idle = 0, busy } = (await service.nodes())['one']?.sandboxes ?? {};
    const there = await containers(endpoint);
    if (busy !== 0 || there.length !== idle) throw new Error(`${idle} idle, ${busy} busy: ${there.join(', ')}`);
  }).catch((error: unknown) => left.push(`${(error as Error).message}: ${String((error as Error).cause)}`));
  const code = await service.stop();
  if (code !== 0) left.push(`katafleet ended with ${code} after SIGTERM`);
  return [...left, ...(await containers(endpoint)), ...strayFiles(service.journal)];
}

/** Names of katafleet's containers on an engine. */
async function containers(endpoint: string): Promise<string[]> {
  const docker = new Dockerode({ socketPath: endpoint.replace('unix://', ''), host: undefined });
  const all = await docker.listContainers({ all: true, filters: { label: ['katafleet.role'] } });
  return all.map(({ Names, State }) => `${Names.join(' ')} (${State})`);
}
