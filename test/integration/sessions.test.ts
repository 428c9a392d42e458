import assert from 'node:assert/strict';
import type { Katafleet, RunRequest, RunResult } from '../../src/app/library.ts';
import { stdout, testFleet } from '../support/fleet.ts';
import { until } from '../support/until.ts';

const MiB = 1024 ** 2;
/** Written by a person just now. */
const file = (path: string, content: string) => ({
  path,
  mode: 0o644,
  mtimeNs: BigInt(Date.now()) * 1_000_000n,
  content: Buffer.from(content),
});
const script = (text: string, request: Partial<RunRequest> = {}): RunRequest => ({
  image: 'build-essential',
  files: [],
  steps: [{ argv: ['bash', '-c', text] }],
  session: 'kata/avatar',
  ...request,
});
const makefile = 'all: a.o b.o\n\t@echo linked\n%.o: %.c\n\t@echo compiled $<\n\t@$(CC) -c $< -o $@\n';
const project = (b: string) => [file('makefile', makefile), file('a.c', 'int a;\n'), file('b.c', b)];

describe('sessions, in real containers', () => {
  let fleet: Katafleet;
  const containers = async () => (await fleet.driver.list()).length;
  const make = (b: string, more: Partial<RunRequest> = {}): Promise<RunResult> =>
    fleet.run({ image: 'build-essential', files: project(b), steps: [{ argv: ['make', '-s'] }], session: 'make', ...more });
  beforeEach(() => (fleet = testFleet()));
  afterEach(() => fleet.close());

  it('make builds what changed and nothing else; a fresh sandbox builds all', async () => {
    const first = await make('int b;\n');
    assert.deepEqual([first.resumed, stdout(first)], [false, 'compiled a.c\ncompiled b.c\nlinked\n']);
    const same = await make('int b;\n');
    assert.deepEqual([same.resumed, same.warm, stdout(same), same.changes.files], [true, true, 'linked\n', []]);
    const edited = await make('int c;\n');
    assert.deepEqual(
      [stdout(edited), edited.changes.files.map(({ path, change }) => `${change} ${path}`)],
      ['compiled b.c\nlinked\n', ['changed b.o']],
    );
    const other = await make('int b;\n', { session: 'other' });
    assert.deepEqual([other.resumed, stdout(other)], [false, 'compiled a.c\ncompiled b.c\nlinked\n']);
  });

  it('sees nothing of another tenant’s session of the same name', async () => {
    const placing = { tenant: 'a', priority: 5, constraints: [], queueMs: 60_000 };
    await fleet.run(script('echo secret > left'), { placing });
    const other = await fleet.run(script('cat left'), { placing: { ...placing, tenant: 'b' } });
    assert.deepEqual([other.resumed, stdout(other)], [false, '']);
    const own = await fleet.run(script('cat left'), { placing });
    assert.deepEqual([own.resumed, stdout(own)], [true, 'secret\n']);
  });

  it('folders that a run locked are open to the next', async () => {
    const files = [file('sub/given', 'given\n')];
    const first = await fleet.run(script('chmod 000 sub; chmod 000 .', { files }));
    assert.deepEqual([first.outcome, first.changes.deleted, first.changes.omitted], [{ kind: 'exited', code: 0 }, [], []]);
    const next = await fleet.run(script('cat sub/given; echo more >sub/more; pwd; stat -c %a . sub', { files }));
    assert.deepEqual([next.resumed, stdout(next)], [true, 'given\n/sandbox\n700\n700\n']);
    const unheard = await fleet.run(script('chmod 000 .', { files, collect: false }));
    assert.deepEqual(unheard.outcome, { kind: 'exited', code: 0 });
    assert.equal(stdout(await fleet.run(script('cat sub/given', { files }))), 'given\n');
  });

  it('a step whose predecessor locked the folder is started', async () => {
    const steps = ['chmod 000 .', 'cat given'].map((text) => ({ argv: ['bash', '-c', text] }));
    const { outcome, steps: done } = await fleet.run(script('', { files: [file('given', 'given\n')], steps }));
    assert.deepEqual([outcome, done[1]?.stdout.toString()], [{ kind: 'exited', code: 0 }, 'given\n']);
  });

  it('processes of one test have ended before the next, and its damage does not stop the next', async () => {
    await fleet.run(script('(setsid sleep 100 &) ; mkdir -p a && ln -s /etc/passwd link && mkfifo pipe', { files: [file('a/b', 'x')] }));
    const next = await fleet.run(
      script('pgrep -c sleep; cat a link', { files: [file('a', 'now a file\n'), file('link', 'now a file too\n')] }),
    );
    assert.deepEqual([next.resumed, stdout(next)], [true, '0\nnow a file\nnow a file too\n']);
  });

  it('a sandbox that went away is stood in for by a fresh one, without a word', async () => {
    await fleet.run(script('echo left > left'));
    for (const { id } of await fleet.driver.list()) await fleet.driver.remove(id);
    const next = await fleet.run(script('ls'));
    assert.deepEqual([next.outcome, next.resumed, stdout(next)], [{ kind: 'exited', code: 0 }, false, '']);
  });

  it('out of memory, cancelled or other limits end it', async () => {
    await fleet.run(script('true'));
    const hog = await fleet.run(script('head -c 600m /dev/zero | tail'));
    assert.deepEqual([hog.resumed, hog.outcome], [true, { kind: 'out_of_memory' }]);
    assert.equal((await fleet.run(script('true'))).resumed, false);
    assert.equal((await fleet.run(script('true', { profile: { memory: 256 * MiB } }))).resumed, false);
  });

  it('is bounded in number and in age', async () => {
    await fleet.close();
    fleet = testFleet({ sessions: { most: 2, perTenant: 2, idleMs: 60_000, ageMs: 60_000, memory: 1 } });
    for (const session of ['a', 'b', 'c']) await fleet.run(script('true', { session }));
    await until(async () => (await containers()) === 2);
    assert.equal((await fleet.run(script('true', { session: 'a' }))).resumed, false, 'the longest unused one went');
    await fleet.close();
    fleet = testFleet({ sessions: { most: 9, perTenant: 9, idleMs: 1, ageMs: 60_000, memory: 1 } });
    await fleet.run(script('true'));
    await until(async () => (await containers()) === 0);
  });

  it('gives way to a run that waits for memory, and goes when the fleet is closed', async () => {
    const { memory } = await fleet.driver.probe();
    const half = Math.floor(memory / 2 / MiB) * MiB;
    await fleet.run(script('true', { profile: { memory: half } }));
    const other = await fleet.run({
      image: 'build-essential',
      files: [],
      steps: [{ argv: ['true'] }],
      profile: { memory: half + 2 * MiB },
    });
    assert.equal(other.outcome.kind, 'exited');
    assert.equal((await fleet.run(script('true', { profile: { memory: half } }))).resumed, false);
    await fleet.close();
    assert.equal(await containers(), 0);
  });
});
