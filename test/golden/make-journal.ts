import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import type { z } from 'zod';
import { Placing, unplaced } from '../../src/model/placing.ts';
import type { Profile } from '../../src/model/profile.ts';
import type { Outcome } from '../../src/model/outcome.ts';
import type { RunRequest, StepInput } from '../../src/model/request.ts';
import type { ReturnedFile, RunResult } from '../../src/model/result.ts';
import { Store } from '../../src/store/store.ts';
import { goldenJson } from '../support/golden.ts';
import { fullResult, hostileNames, hostileTimes, outcomes, plainResult, timeOf } from './inputs.ts';

/** What a journal's file means. */
export interface JournalExpectation {
  identity: string;
  since: number;
  epoch: number;
  runs: Record<string, unknown>[];
  requests: Record<string, unknown>;
  /** Ids of the runs that are not over, in order, with the numbers that count their attempts. */
  unfinished: Record<string, unknown>[];
  counts: Record<string, number>;
  known: { tenant: string; key: string; said: object; id: string }[];
  imageUses: Record<string, number>;
  nodeSettings: Record<string, unknown>[];
  events: Record<string, unknown>[];
  maintenance: Record<string, unknown>;
}

const identity = '6f1d5c0e-0000-4000-8000-00000000601d';
const since = 1_790_000_000_000;
const over = 'katafleet ended in the middle of it';

/** A key's hash counts fields that are undefined as absent. */
const withoutUndefined = (value: object) => Object.fromEntries(Object.entries(value).filter(([, each]) => each !== undefined));
const own = (key: string, value: string) => Object.defineProperty({}, key, { value, enumerable: true }) as Record<string, string>;

export const fullProfile: z.input<typeof Profile> = {
  memory: 1024 ** 3,
  cpus: 0.05,
  pids: 32_768,
  wallMs: 86_400_000,
  cpuMs: 5,
  stdout: 0,
  stderr: 67_108_864,
  fileSize: 0,
  filesBack: 100_000,
  fileBack: 1,
  bytesBack: 1024 ** 3,
  openFiles: 16,
  stack: 65_536,
  shm: 0,
  dial: 'overlay',
  network: 'kata-net',
};
export const fullRequestStep: StepInput = {
  argv: ['sh', '-c', 'printf "%s" "$1"\n', 'not-utf8-\udcff', ''],
  env: { LANG: 'C.UTF-8', EMPTY: '', ...own('__proto__', 'own'), 'odd name\udc80': 'line\nend' },
  stdin: Uint8Array.from([9, 0, 255, 10, 9]).subarray(1, 4), // no Buffer, and a part of a larger one
  cwd: '/sandbox/line\nend',
  limits: { wallMs: 10, cpuMs: 0, stdout: 0, stderr: 67_108_864 },
  required: true,
};
export const fullPlacing: z.input<typeof Placing> & { tenant: string } = {
  tenant: 'school-7@example.org',
  priority: 9,
  constraints: ['zone==eu', 'disk!='],
  architecture: 'arm64',
  queueMs: 86_400_000,
};

/** A request with every field that can stand beside files. */
const fullRequest: RunRequest = {
  image: 'registry.example:5000/kata/gcc-assert:1.2',
  files: [
    ...hostileNames.map((path, index) => ({ path, mode: index % 0o7777, mtimeNs: timeOf(index), content: Buffer.from([index, 0xff]) })),
    { path: 'plain', content: Uint8Array.from([1, 2, 3]) },
    { path: 'undefined', mode: undefined, mtimeNs: undefined, content: Buffer.alloc(0) },
  ],
  folders: [{ path: 'empty' }, ...hostileTimes.map((mtimeNs, index) => ({ path: `hollow\udc80/${index}`, mode: 0o1777, mtimeNs }))],
  steps: [fullRequestStep, { argv: ['true'] }],
  profile: fullProfile,
  collect: false,
  back: ['*.gcov', 'out/', '!out/tmp'],
  session: 'kata/lion "1"',
};
const plainRequest: RunRequest = { image: 'gcc-assert', files: [], steps: [{ argv: ['make'] }] };
const rsyncRequest: RunRequest = { ...plainRequest, rsync: { path: '/srv/katas/odd \udcff\nname' } };

/** Files that are read piece by piece: one that is no text, and text whose two pieces part a letter. */
const large: ReturnedFile[] = [
  { change: 'created', path: 'large-bytes', mode: 0o644, mtimeNs: 1n, content: Buffer.alloc(256 * 1024, 0xff) },
  { change: 'changed', path: 'large-text', mode: 0o644, mtimeNs: -1n, content: Buffer.from(`xy${'€'.repeat(256 * 1024)}`) },
  { change: 'created', path: 'small-after-large', mode: 0o644, mtimeNs: 1n, content: Buffer.from('small') },
];

/** Writes a journal and what it means. */
export async function makeJournal(folder: string): Promise<void> {
  const file = join(folder, 'journal.db');
  const runs: Record<string, unknown>[] = [];
  const known: JournalExpectation['known'] = [];
  const requests: Record<string, unknown> = {};
  const unfinished: Record<string, unknown>[] = [];
  const counts = { waiting: 0, running: 0, finished: 0, failed: 0, cancelled: 0 };
  const imageUses: Record<string, number> = {};
  const store = await Store.open(file, { thread: false });
  let clock = since;

  interface Accepted {
    tenant?: string;
    key?: string;
    said?: object;
    request?: RunRequest;
    placing?: Placing;
  }
  const accept = async (
    id: string,
    { tenant = 'default', key, said, request = plainRequest, placing: where = unplaced }: Accepted = {},
  ) => {
    clock += 1_000;
    const run = { id, tenant, request, placing: where, at: clock };
    await store.accept({ ...run, ...(key === undefined ? {} : { key }), ...(said ? { sent: said } : {}) });
    if (key !== undefined) known.push({ tenant, key, said: withoutUndefined(said ?? { request, placing: where }), id });
    imageUses[request.image === 'gcc-assert' ? 'gcc-assert:latest' : request.image] = clock;
    return { id, tenant, key, image: request.image, placing: where, acceptedAt: clock, request };
  };
  type Run = Awaited<ReturnType<typeof accept>>;
  type State = keyof typeof counts;
  const ended = ({ request: _request, ...run }: Run, state: State, attempts: unknown[], more: object) => {
    counts[state] += 1;
    runs.push({ ...run, state, attempts, endedAt: undefined, error: undefined, result: undefined, ...more });
  };
  const open = (run: Run, attempts: { number: number }[], counted: { abandoned?: number; stopped?: number } = {}) => {
    ended(run, 'waiting', attempts, {});
    requests[run.id] = run.request;
    const { id, tenant, placing: where, acceptedAt } = run;
    const lastAttempt = attempts.at(-1)?.number ?? 0;
    unfinished.push({
      id,
      tenant,
      placing: where,
      acceptedAt,
      lastAttempt,
      tries: attempts.length - (counted.stopped ?? 0),
      abandoned: 0,
      stopped: 0,
      ...counted,
    });
  };
  const begin = async (id: string, number: number, where: { node: string; warm?: boolean; resumed?: boolean }) => {
    clock += 1_000;
    await store.begin(id, number, where, clock);
    return { number, node: where.node, warm: where.warm, resumed: where.resumed ?? false, startedAt: clock };
  };
  const finished = async (id: string, result: RunResult, accepted: Accepted = {}) => {
    const run = await accept(id, accepted);
    const attempt = await begin(id, 1, { node: 'local', warm: true });
    clock += 1_000;
    await store.finish(id, 1, result, clock);
    const attempts = [{ ...attempt, endedAt: clock, state: 'accepted', reason: undefined }];
    ended(run, 'finished', attempts, { endedAt: clock, result });
  };

  open(await accept('waits-plain'), []);
  const said = {
    image: 'gcc-assert',
    files: [{ path: '\udc80', content: Buffer.from([0, 255]), mtimeNs: 5n }],
    none: undefined,
    half: 0.5,
  };
  open(
    await accept('waits-full', {
      tenant: fullPlacing.tenant,
      key: 'k "1"\n',
      said,
      request: fullRequest,
      placing: Placing.parse(fullPlacing),
    }),
    [],
  );
  open(await accept('waits-rsync', { key: 'k', request: rsyncRequest }), []);

  {
    const run = await accept('lost-thrice');
    const attempts = [];
    for (const [index, reason] of ['node gone\n\u001b[31m', 'no try: the node was not there'].entries()) {
      const attempt = await begin(run.id, index + 1, { node: 'legacy', warm: index === 0, resumed: index === 1 });
      clock += 1_000;
      await store.lost(run.id, index + 1, reason, clock);
      attempts.push({ ...attempt, endedAt: clock, state: 'lost', reason });
    }
    const attempt = await begin(run.id, 5, { node: 'swarm' });
    clock += 1_000;
    await store.stopped(run.id, 5, clock);
    attempts.push({ ...attempt, endedAt: clock, state: 'lost', reason: 'katafleet was stopped in the middle of it' });
    open(run, attempts, { stopped: 2 });
  }
  {
    const run = await accept('was-running');
    const attempt = await begin(run.id, 1, { node: 'nöde "1"', warm: false, resumed: true });
    open(run, [{ ...attempt, state: 'lost', reason: over } as { number: number }], { abandoned: 1 }); // its end is when it is read
  }

  const id = (kind: string, outcome: Outcome) => `${kind}-${outcome.kind}-${outcomes.indexOf(outcome)}`;
  for (const outcome of outcomes) {
    await finished(id('plain', outcome), plainResult(id('plain', outcome), outcome), { key: id('plain', outcome) });
    await finished(id('full', outcome), fullResult(id('full', outcome), outcome), { request: fullRequest });
  }
  await finished('large', fullResult('large', { kind: 'exited', code: 0 }, large));

  {
    const failed = async (run: Run, attempt: number | undefined, error: { code: string; message: string; hint?: string }) => {
      const begun = attempt === undefined ? undefined : await begin(run.id, attempt, { node: 'local' });
      clock += 1_000;
      await store.fail(run.id, attempt, error, clock);
      const attempts = begun ? [{ ...begun, endedAt: clock, state: 'failed', reason: error.message }] : [];
      ended(run, 'failed', attempts, { endedAt: clock, error });
    };
    await failed(await accept('failed-plain'), undefined, { code: 'queue.full', message: 'full' });
    await failed(await accept('failed-full'), 1, { code: 'engine.failed', message: 'line\nend \u001b[0m', hint: 'mend "it"' });
    const cancelled = async (run: Run, begun?: Awaited<ReturnType<typeof begin>>) => {
      clock += 1_000;
      await store.cancel(run.id, clock);
      const attempts = begun ? [{ ...begun, endedAt: clock, state: 'cancelled', reason: undefined }] : [];
      ended(run, 'cancelled', attempts, { endedAt: clock });
    };
    await cancelled(await accept('cancelled-waiting'));
    const run = await accept('cancelled-running');
    await cancelled(run, await begin(run.id, 1, { node: 'local' }));
  }

  const settings = [
    { name: 'local', cordoned: false, draining: false },
    { name: 'legacy', cordoned: true, draining: false },
    { name: 'swarm', cordoned: false, draining: true },
    { name: 'nöde "1"', cordoned: true, draining: true, machine: 'engine "1"\n' },
  ];
  for (const { name, ...setting } of settings) await store.setNodeSetting(name, setting);
  const events = [
    { at: clock + 1, node: 'local', kind: 'up', detail: '' },
    { at: clock + 2, node: 'nöde "1"', kind: 'lost', detail: 'line\nend \u001b[0m "quoted"' },
    { at: clock + 3, node: 'swarm', kind: 'cordoned', detail: 'x'.repeat(2_000) },
  ];
  for (const { node, kind, detail, at } of events) await store.event(node, kind, detail, at);
  await store.maintenanceStarted('runs', clock);
  await store.maintenanceStarted('ends', clock);
  await store.maintenanceEnded('ends', clock + 1, true, 'forgot 5 runs');
  await store.maintenanceStarted('fails', clock);
  await store.maintenanceEnded('fails', clock + 2, false, 'line\nend');
  const maintenance = {
    runs: { startedAt: clock, endedAt: undefined, outcome: 'running', detail: undefined },
    ends: { startedAt: clock, endedAt: clock + 1, outcome: 'done', detail: 'forgot 5 runs' },
    fails: { startedAt: clock, endedAt: clock + 2, outcome: 'failed', detail: 'line\nend' },
    never: undefined,
  };
  await store.close();
  fix(file);
  const expectation: JournalExpectation = {
    ...{ identity, since, epoch: 2, runs, requests, unfinished, counts, known, imageUses },
    ...{ nodeSettings: settings.toSorted((a, b) => (a.name < b.name ? -1 : 1)), events: events.toReversed(), maintenance },
  };
  writeFileSync(join(folder, 'journal.json'), goldenJson(expectation));
}

/** What is made up at each making gets a value of ours, and all goes into the one file. */
function fix(file: string): void {
  const db = new Database(file);
  const set = db.prepare('UPDATE meta SET value = ? WHERE key = ?');
  set.run(identity, 'identity');
  set.run(String(since), 'since');
  db.pragma('wal_checkpoint(TRUNCATE)');
  db.close();
  for (const end of ['-wal', '-shm']) rmSync(`${file}${end}`, { force: true });
}
