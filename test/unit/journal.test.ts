import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import fc from 'fast-check';
import { KatafleetError } from '../../src/model/errors.ts';
import { Placing } from '../../src/model/placing.ts';
import type { RunRequest } from '../../src/model/request.ts';
import { noChanges, type RunResult } from '../../src/model/result.ts';
import { decodeRequest, decodeResult, encodeRequest, encodeResult, hashOf } from '../../src/store/codec.ts';
import { Journal } from '../../src/store/journal.ts';
import { aRequest, aRunResult, aStepResult } from '../support/builders.ts';

const placing = (more: object = {}) => Placing.parse(more);
const request = (name = 'x', content = 'hi'): RunRequest =>
  aRequest({
    image: 'gcc',
    files: [{ path: name, mode: 0o644, mtimeNs: 5n, content: Buffer.from(content) }],
    steps: [{ argv: ['make'] }],
  });
const result = (id: string, more: Partial<RunResult> = {}): RunResult => aRunResult({ id, image: 'gcc', node: 'a', steps: [], ...more });
const error = { code: 'engine.failed', message: 'broken' };
const refuses = (code: string) => (thrown: unknown) => thrown instanceof KatafleetError && thrown.code === code;

describe('journal: a run', () => {
  let journal: Journal;
  beforeEach(() => (journal = Journal.open(':memory:')));
  afterEach(() => journal.close());

  const accept = (id: string, more: { key?: string; tenant?: string; at?: number; request?: RunRequest } = {}) =>
    journal.accept({ id, tenant: 'default', request: request(), placing: placing(), at: 1_000, ...more });

  it('is written down with all that it asks for, and handed out again as it was', () => {
    accept('r', { at: 1_234 });
    assert.deepEqual(journal.request('r'), request());
    assert.deepEqual(journal.get('r'), {
      id: 'r',
      tenant: 'default',
      key: undefined,
      image: 'gcc',
      state: 'waiting',
      placing: placing(),
      acceptedAt: 1_234,
      endedAt: undefined,
      error: undefined,
      attempts: [],
      result: undefined,
    });
    assert.equal(journal.get('other'), undefined);
  });

  it('the same key of the same tenant is the same run; another request under it is a conflict', () => {
    assert.deepEqual(accept('r1', { key: 'k' }), { id: 'r1', known: false });
    assert.deepEqual(accept('r2', { key: 'k' }), { id: 'r1', known: true });
    assert.equal(journal.known('default', 'k', { request: request(), placing: placing() }), 'r1');
    assert.deepEqual(accept('r3', { key: 'k', tenant: 'other' }), { id: 'r3', known: false });
    assert.throws(() => accept('r4', { key: 'k', request: request('x', 'ho') }), refuses('request.conflict'));
    assert.throws(() => journal.known('default', 'k', { request: request('y'), placing: placing() }), refuses('request.conflict'));
    assert.deepEqual([accept('r5').known, accept('r6').known], [false, false], 'without a key each is its own');
    assert.equal(journal.get('r4'), undefined);
  });

  it('files that are streams can’t be written down', () => {
    const open = () => [Buffer.from('x')] as unknown as AsyncIterable<Uint8Array>;
    const streamed = { ...request(), files: [{ path: 'x', mode: 0, mtimeNs: 0n, content: { size: 1, open } }] };
    assert.throws(() => accept('r', { request: streamed }), refuses('request.invalid'));
    assert.equal(journal.get('r'), undefined);
  });

  it('attempts only grow', () => {
    accept('r');
    journal.begin('r', 1, { node: 'a', warm: true }, 1);
    assert.throws(() => journal.begin('r', 1, { node: 'b' }, 2), refuses('internal'));
    assert.ok(journal.lost('r', 1, 'node gone', 3));
    assert.equal(journal.get('r')?.state, 'waiting');
    journal.begin('r', 3, { node: 'b' }, 4);
    assert.throws(() => journal.begin('r', 2, { node: 'c' }, 5), refuses('internal'));
    assert.throws(() => journal.begin('nobody', 1, { node: 'c' }, 5), refuses('internal'));
    assert.deepEqual(journal.get('r')?.attempts, [
      { number: 1, node: 'a', warm: true, resumed: false, startedAt: 1, endedAt: 3, state: 'lost', reason: 'node gone' },
      { number: 3, node: 'b', warm: undefined, resumed: false, startedAt: 4, endedAt: undefined, state: 'running', reason: undefined },
    ]);
  });

  it('has one result, of its newest attempt; a late one of an older attempt is refused', () => {
    accept('r');
    journal.begin('r', 1, { node: 'a' }, 1);
    journal.lost('r', 1, 'silent', 2);
    assert.equal(journal.finish('r', 1, result('r', { node: 'late' }), 3), false, 'while it waits');
    journal.begin('r', 2, { node: 'b' }, 4);
    assert.equal(journal.finish('r', 1, result('r', { node: 'late' }), 5), false);
    assert.equal(journal.lost('r', 1, 'silent', 5), false);
    assert.equal(journal.fail('r', 1, error, 5), false);
    assert.equal(journal.finish('r', 2, result('r', { node: 'b' }), 6), true);
    assert.equal(journal.finish('r', 2, result('r', { node: 'twice' }), 7), false);
    assert.equal(journal.fail('r', 2, error, 7), false);
    assert.equal(journal.cancel('r', 7), false);
    assert.throws(() => journal.begin('r', 3, { node: 'c' }, 8), refuses('internal'));
    const record = journal.get('r');
    assert.deepEqual(
      [record?.state, record?.endedAt, record?.result?.node, record?.attempts.map(({ state }) => state)],
      ['finished', 6, 'b', ['lost', 'accepted']],
    );
    assert.equal(journal.request('r'), undefined, 'what it asked for takes no more room');
  });

  it('fails or is cancelled once, waiting or running', () => {
    for (const id of ['w', 'f', 'c']) accept(id);
    journal.begin('f', 1, { node: 'a' }, 1);
    journal.begin('c', 1, { node: 'a' }, 1);
    assert.ok(journal.fail('w', undefined, { ...error, hint: 'mend it' }, 2));
    assert.ok(journal.fail('f', 1, error, 2));
    assert.ok(journal.cancel('c', 2));
    assert.ok(!journal.cancel('w', 3) && !journal.fail('c', 1, error, 3) && !journal.finish('f', 1, result('f'), 3));
    assert.deepEqual(journal.get('w')?.error, { ...error, hint: 'mend it' });
    assert.deepEqual(
      ['w', 'f', 'c'].map((id) => [journal.get(id)?.state, journal.get(id)?.attempts[0]?.state]),
      [
        ['failed', undefined],
        ['failed', 'failed'],
        ['cancelled', 'cancelled'],
      ],
    );
    assert.deepEqual(journal.counts(), { waiting: 0, running: 0, finished: 0, failed: 2, cancelled: 1 });
  });

  it('returns unfinished runs in the order in which they were accepted', () => {
    for (const id of ['c', 'a', 'd', 'b']) accept(id, { at: 5 });
    journal.begin('a', 1, { node: 'n' }, 6);
    journal.cancel('d', 7);
    assert.deepEqual(
      Array.from(journal.unfinished(), ({ id, lastAttempt }) => [id, lastAttempt]),
      [
        ['c', 0],
        ['a', 1],
        ['b', 0],
      ],
    );
  });

  it('lists the newest first, by state and tenant', () => {
    for (const id of ['a', 'b', 'c']) accept(id);
    accept('d', { tenant: 'other' });
    journal.cancel('b', 2);
    const ids = (of: Parameters<Journal['list']>[0]) => journal.list(of).map(({ id }) => id);
    assert.deepEqual(ids({ limit: 10 }), ['d', 'c', 'b', 'a']);
    assert.deepEqual(ids({ limit: 2 }), ['d', 'c']);
    assert.deepEqual(ids({ limit: 10, state: 'cancelled' }), ['b']);
    assert.deepEqual(ids({ limit: 10, tenant: 'default', state: 'waiting' }), ['c', 'a']);
  });

  it('is forgotten after its time, with its key; an unfinished run never is', async () => {
    for (let index = 0; index < 1_200; index += 1) accept(`old${index}`);
    for (let index = 0; index < 1_200; index += 1) journal.cancel(`old${index}`, 10);
    accept('kept', { key: 'k' });
    journal.begin('kept', 1, { node: 'a' }, 1);
    journal.finish('kept', 1, result('kept'), 99);
    accept('waits', { at: 1 });
    assert.deepEqual(await journal.prune({ resultsBefore: 99, eventsBefore: 0 }), { runs: 1_200, events: 0 });
    assert.deepEqual(
      journal.list({ limit: 10 }).map(({ id }) => id),
      ['waits', 'kept'],
    );
    assert.deepEqual(await journal.prune({ resultsBefore: 100, eventsBefore: 0 }), { runs: 1, events: 0 });
    assert.deepEqual([journal.get('kept'), accept('anew', { key: 'k' }).known], [undefined, false]);
  });

  it('tells when each image was last asked for', () => {
    accept('a', { at: 5 });
    accept('b', { at: 9, request: { ...request(), image: 'docker.io/library/gcc:latest' } });
    accept('c', { at: 7, request: { ...request(), image: 'python:3' } });
    assert.deepEqual([...journal.imageUses()].sort(), [
      ['gcc:latest', 9],
      ['python:3', 7],
    ]);
  });
});

describe('journal: what it keeps beside runs', () => {
  it('events, newest first, of one node or all, until they are forgotten', async () => {
    using journal = Journal.open(':memory:');
    journal.event('a', 'ready', 'was probing', 1);
    journal.event('b', 'down', 'x'.repeat(5_000), 2);
    journal.event('a', 'down', '', 3);
    assert.deepEqual(
      journal.events({ limit: 10 }).map(({ at, node }) => [at, node]),
      [
        [3, 'a'],
        [2, 'b'],
        [1, 'a'],
      ],
    );
    assert.deepEqual(journal.events({ node: 'a', limit: 1 }), [{ at: 3, node: 'a', kind: 'down', detail: '' }]);
    assert.ok((journal.events({ node: 'b', limit: 1 })[0]?.detail.length ?? 0) <= 2_000, 'what an engine says has a bound');
    assert.deepEqual(await journal.prune({ resultsBefore: 0, eventsBefore: 3 }), { runs: 0, events: 2 });
  });

  it('keeps nodes’ cordons and drains, and the last maintenance of each job', () => {
    using journal = Journal.open(':memory:');
    journal.setNodeSetting('a', { cordoned: true, draining: true });
    journal.setNodeSetting('b', { cordoned: true, draining: false });
    journal.setNodeSetting('a', { cordoned: false, draining: false });
    assert.deepEqual(journal.nodeSettings(), [
      { name: 'a', cordoned: false, draining: false },
      { name: 'b', cordoned: true, draining: false },
    ]);
    assert.equal(journal.maintenance('reap'), undefined);
    journal.maintenanceStarted('reap', 1);
    journal.maintenanceEnded('reap', 2, true, 'fine');
    assert.deepEqual(journal.maintenance('reap'), { startedAt: 1, endedAt: 2, outcome: 'done', detail: 'fine' });
    journal.maintenanceStarted('reap', 3);
    assert.deepEqual(journal.maintenance('reap'), { startedAt: 3, endedAt: undefined, outcome: 'running', detail: undefined });
  });
});

describe('journal: the file', () => {
  let folder: string;
  let file: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'katafleet-journal-'));
    file = join(folder, 'state/journal.db');
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  const accept = (journal: Journal, id: string) =>
    journal.accept({ id, tenant: 't', request: request(), placing: placing({ tenant: 't' }), at: 1 });

  it('is readable by its owner only, and so is its folder', () => {
    const before = process.umask(0);
    try {
      using journal = Journal.open(file);
      accept(journal, 'r');
      const mode = (path: string) => statSync(path).mode & 0o777;
      assert.deepEqual([mode(join(folder, 'state')), mode(file), mode(`${file}-wal`)], [0o700, 0o600, 0o600]);
    } finally {
      process.umask(before);
    }
  });

  it('has one katafleet at a time', () => {
    using journal = Journal.open(file);
    assert.throws(
      () => Journal.open(file),
      (thrown) => refuses('journal.locked')(thrown) && (thrown as Error).message.includes(file),
    );
    accept(journal, 'r');
  });

  it('keeps its identity and counts its openings', () => {
    const [first, second] = [Journal.open(file), undefined];
    const { identity, epoch, since } = first;
    first.close();
    using again = second ?? Journal.open(file);
    assert.deepEqual([again.identity, again.epoch, again.since], [identity, epoch + 1, since]);
    using other = Journal.open(join(folder, 'other.db'));
    assert.notEqual(other.identity, identity);
  });

  it('a run under way when katafleet ended waits again, and its attempt counts as lost', () => {
    const before = Journal.open(file);
    for (const id of ['r', 'done', 'w']) accept(before, id);
    for (const id of ['r', 'done']) before.begin(id, 1, { node: 'a' }, 1);
    before.finish('done', 1, result('done'), 2);
    before.close();
    using after = Journal.open(file);
    const record = after.get('r');
    assert.deepEqual(
      [record?.state, record?.attempts[0]?.state, record?.attempts[0]?.reason],
      ['waiting', 'lost', 'katafleet ended in the middle of it'],
    );
    assert.deepEqual([after.get('done')?.state, after.get('done')?.attempts[0]?.state], ['finished', 'accepted']);
    assert.deepEqual(
      Array.from(after.unfinished(), ({ id, lastAttempt, abandoned }) => [id, lastAttempt, abandoned]),
      [
        ['r', 1, 1],
        ['w', 0, 0],
      ],
    );
  });

  it('is refused and left unchanged if a newer katafleet wrote it', () => {
    Journal.open(file).close();
    const db = new Database(file);
    db.pragma('user_version = 99');
    db.close();
    const bytes = readFileSync(file);
    assert.throws(() => Journal.open(file), refuses('journal.newer'));
    assert.equal(readFileSync(file).compare(bytes), 0, 'nothing was written to it');
  });

  it('is refused with a message and left unchanged if it is not a journal', () => {
    Journal.open(file).close();
    writeFileSync(file, 'what somebody wrote\n'.repeat(500));
    assert.throws(() => Journal.open(file), refuses('journal.broken'));
    assert.match(readFileSync(file, 'utf8'), /^what somebody wrote/);
  });

  it('is refused with a message if it can’t be created', () => {
    writeFileSync(join(folder, 'state'), 'a file where a folder should be');
    assert.throws(() => Journal.open(file), refuses('journal.broken'));
    chmodSync(folder, 0o700);
  });

  it('reports an unreadable value, with its run', () => {
    Journal.open(file).close();
    const db = new Database(file);
    db.prepare(
      "INSERT INTO runs (id, sequence, tenant, hash, image, placing, state, accepted_at) VALUES ('r', 1, 't', x'00', 'gcc', '{}', 'waiting', 1)",
    ).run();
    db.prepare("INSERT INTO requests (run, bytes) VALUES ('r', x'01FF00')").run();
    db.close();
    using journal = Journal.open(file);
    assert.throws(() => journal.request('r'), refuses('journal.broken'));
  });

  it('gives its room back when runs are forgotten', async () => {
    const big = { ...request(), files: [{ path: 'x', mode: 0, mtimeNs: 0n, content: Buffer.alloc(4_000_000, 1) }] };
    let journal = Journal.open(file);
    journal.accept({ id: 'r', tenant: 't', request: big, placing: placing(), at: 1 });
    journal.close();
    assert.ok(statSync(file).size > 4_000_000);
    journal = Journal.open(file);
    journal.cancel('r', 2);
    await journal.prune({ resultsBefore: 3, eventsBefore: 0 });
    journal.close();
    assert.ok(statSync(file).size < 1_000_000, String(statSync(file).size));
  });

  it('takes the word of a key that an earlier release wrote down, whose hash was over defaults of that time', () => {
    const sent = { command: ['make'] };
    const run = { tenant: 't', key: 'k', request: request(), placing: placing(), at: 1 };
    {
      using journal = Journal.open(file);
      journal.accept({ ...run, id: 'r', sent });
      assert.throws(() => journal.known('t', 'k', { command: ['other'] }), refuses('request.conflict'));
    }
    const db = new Database(file);
    db.prepare('UPDATE runs SET hash = ?').run(hashOf(request()));
    db.close();
    using journal = Journal.open(file);
    assert.equal(journal.known('t', 'k', sent), 'r');
    assert.deepEqual(journal.accept({ ...run, id: 's', sent: { command: ['make'] } }), { id: 'r', known: true });
  });

  it('loses nothing that it told when the process is killed', async () => {
    const at = (path: string) => JSON.stringify(new URL(`../../src/${path}`, import.meta.url).href);
    const script = `
      import { Journal } from ${at('store/journal.ts')};
      import { Placing } from ${at('model/placing.ts')};
      import { writeSync } from 'node:fs';
      const journal = Journal.open(${JSON.stringify(file)});
      const request = { image: 'gcc', files: [], steps: [{ argv: ['true'] }] };
      for (let index = 0; ; index += 1) {
        journal.accept({ id: 'r' + index, tenant: 't', key: 'k' + index, request, placing: Placing.parse({}), at: index });
        writeSync(1, index + '\\n');
      }`;
    const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let told = '';
    child.stdout.on('data', (chunk: Buffer) => {
      told += chunk.toString();
      if (told.length > 2_000) child.kill('SIGKILL');
    });
    await once(child, 'close');
    const last = Number(told.trimEnd().split('\n').at(-1));
    assert.ok(last > 100, told);
    using journal = Journal.open(file);
    assert.ok([...journal.unfinished()].length > last);
    const known = aRequest({ image: 'gcc' });
    assert.equal(journal.known('t', `k${last}`, { request: known, placing: placing() }), `r${last}`);
  });
});

describe('journal: the form of values', () => {
  const bytes = fc.uint8Array({ maxLength: 50 }).map((array) => Buffer.from(array));
  const plain = { noNullPrototype: true };
  const file = fc.record(
    {
      path: fc.string({ unit: 'binary', minLength: 1 }),
      mode: fc.nat(0o7777),
      mtimeNs: fc.bigInt(-(2n ** 63n), 2n ** 63n),
      content: bytes,
    },
    plain,
  );
  const step = fc.record({ argv: fc.array(fc.string(), { minLength: 1 }), stdin: bytes, required: fc.boolean() }, plain);

  it('bytes and time stamps come back as they were', () => {
    fc.assert(
      fc.property(fc.array(file), fc.array(step), fc.boolean(), (files, steps, collect) => {
        const whole: RunRequest = { image: 'x', files, steps, collect, profile: { memory: 5 } };
        const back = decodeRequest(encodeRequest(whole));
        assert.deepEqual(back, whole);
        assert.ok(back.files.every(({ content }) => Buffer.isBuffer(content)));
        assert.ok(hashOf(back).equals(hashOf(whole)));
      }),
    );
  });

  it('results too', () => {
    const stdout = Buffer.from([0, 255, 10]);
    const whole = result('r', {
      steps: [aStepResult({ outcome: { kind: 'signalled', signal: 9 }, stdout, stderrCut: true, wallMs: 1.5, peakMemory: 1 })],
      changes: { ...noChanges(), files: [{ change: 'created', path: '\udcff', mode: 0, mtimeNs: -1n, content: stdout }] },
    });
    assert.deepEqual(decodeResult(encodeResult(whole)), whole);
  });

  it('an unknown form is refused', () => {
    assert.throws(() => decodeRequest(Buffer.from([9, 1, 2])), refuses('journal.broken'));
    assert.throws(() => decodeRequest(Buffer.alloc(0)), refuses('journal.broken'));
    assert.throws(() => decodeResult(Buffer.from([1, 1, 2])), refuses('journal.broken'));
  });

  it('the hash is of what is said, not of the order in which it is said', () => {
    const same = hashOf({ a: 1, b: { c: 'x', d: undefined } });
    assert.ok(same.equals(hashOf({ b: { c: 'x' }, a: 1 })));
    const others = [
      { a: '1', b: { c: 'x' } },
      { a: 1, b: { c: 'xd' } },
      { a: 1, b: ['c', 'x'] },
      { a: 1n, b: { c: 'x' } },
      { a: 1, b: { c: Buffer.from('x') } },
    ];
    for (const other of others) assert.ok(!same.equals(hashOf(other)));
    assert.ok(!hashOf(['ab', 'c']).equals(hashOf(['a', 'bc'])));
    assert.ok(!hashOf({ x: '\udc80' }).equals(hashOf({ x: '\udc81' })), 'names that are not UTF-8 are told apart');
  });
});
