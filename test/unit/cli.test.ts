import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import { exitCodeOf } from '../../src/cli/exit-code.ts';
import { readFolder } from '../../src/cli/files/folder.ts';
import { verdictTable } from '../../src/cli/commands/explain.ts';
import { imagesTable } from '../../src/cli/commands/images.ts';
import { jobsTable } from '../../src/cli/commands/maintenance.ts';
import { drainProgress, nodesTable } from '../../src/cli/commands/nodes.ts';
import { main, program } from '../../src/cli/program.ts';
import { escapeControls, escapeLine } from '../../src/cli/show/terminal.ts';
import { writeBack } from '../../src/cli/files/write-back.ts';
import { KatafleetError } from '../../src/model/errors.ts';
import { ago } from '../../src/model/quantity.ts';
import { noChanges } from '../../src/model/result.ts';
import type { NodeVerdict } from '../../src/model/verdict.ts';
import { aNode } from '../support/builders.ts';
import { fakeMachine } from '../support/fake-driver.ts';

const summary = aNode({
  state: 'down',
  cordoned: 'draining',
  trouble: { code: 'engine.unreachable', message: 'no engine answers' },
  architecture: 'amd64',
  lastSeen: 5_000,
});
const code = (expected: string) => (error: unknown) => error instanceof KatafleetError && error.code === expected;

describe('command line', () => {
  let folder: string;
  beforeEach(async () => (folder = await mkdtemp(join(tmpdir(), 'katafleet-cli-'))));
  afterEach(() => rm(folder, { recursive: true, force: true }));

  it('shows control characters escaped', () => {
    assert.equal(escapeControls('a\x1b[31mb\tc\r\nd\x07\u009b\u202e'), 'a\\x1b[31mb\tc\nd\\x07\\x9b\\u202e');
  });

  it('keeps a message on one line of the log', () => {
    assert.equal(escapeLine('a\n2026 forged\r\nb\u2028c\x1b['), 'a\\n2026 forged\\nb c\\x1b[');
  });

  it('reads a folder with names, modes and times as they are, and leaves links out', async () => {
    await mkdir(join(folder, 'd/hollow'), { recursive: true });
    await writeFile(join(folder, 'd/-x y'), 'hi');
    await chmod(join(folder, 'd/-x y'), 0o751);
    await writeFile(Buffer.concat([Buffer.from(`${folder}/`), Buffer.from([0xff])]), 'raw');
    await symlink('/etc/passwd', join(folder, 'link'));
    const { files, folders, skipped } = await readFolder(folder);
    assert.deepEqual(
      files.map(({ path, mode }) => [path, path === 'd/-x y' ? mode : 0]),
      [
        ['d/-x y', 0o751],
        ['\udcff', 0],
      ],
    );
    assert.deepEqual([folders.map(({ path }) => path), skipped], [['d/hollow'], ['link']]);
    assert.equal(files[0]?.mtimeNs, (await stat(join(folder, 'd/-x y'), { bigint: true })).mtimeNs);
  });

  it('says whose fault a folder is', async () => {
    await assert.rejects(readFolder(join(folder, 'none')), code('folder.missing'));
    await assert.rejects(readFolder(folder), code('folder.empty'));
    await writeFile(join(folder, 'f'), '');
    await assert.rejects(readFolder(join(folder, 'f')), code('folder.missing'));
  });

  it('says which file can’t be read', async function () {
    if (process.getuid?.() === 0 && !process.seteuid) return this.skip();
    await writeFile(join(folder, 'secret'), 'x');
    await chmod(join(folder, 'secret'), 0);
    await chmod(folder, 0o755);
    const root = process.getuid?.() === 0;
    if (root) process.seteuid?.(65_534);
    try {
      await assert.rejects(readFolder(folder), (error) => code('file.unreadable')(error) && /secret/.test(String(error)));
    } finally {
      if (root) process.seteuid?.(0);
    }
  });

  it('writes files back with their times to the nanosecond, below the folder and nowhere else', async () => {
    const outside = join(folder, 'outside');
    const out = join(folder, 'out');
    await mkdir(outside);
    await mkdir(out);
    await writeFile(join(outside, 'victim'), 'safe');
    await symlink(join(outside, 'victim'), join(out, 'victim'));
    const file = (path: string) => ({
      change: 'created' as const,
      path,
      mode: 0o6755,
      mtimeNs: 1_700_000_000_123_456_789n,
      content: Buffer.from('new'),
    });
    await writeBack(out, { ...noChanges(), files: [file('victim'), file('d/-e\nf')], deleted: ['gone', 'no/such'] });
    assert.equal(await readFile(join(outside, 'victim'), 'utf8'), 'safe');
    const written = await stat(join(out, 'd/-e\nf'), { bigint: true });
    assert.deepEqual([written.mtimeNs, written.mode & 0o7777n], [1_700_000_000_123_456_789n, 0o755n]);
    await symlink(outside, join(out, 'link'));
    await assert.rejects(writeBack(out, { ...noChanges(), files: [file('link/victim')] }), code('output.unwritable'));
    await writeBack(out, { ...noChanges(), deleted: ['link/victim'] });
    assert.equal(await readFile(join(outside, 'victim'), 'utf8'), 'safe', 'deleting follows no link either');
  });

  it('has an exit code for each outcome', () => {
    const codes = [
      { kind: 'exited', code: 3 },
      { kind: 'signalled', signal: 11 },
      { kind: 'timed_out', clock: 'wall' },
      { kind: 'out_of_memory' },
      { kind: 'cancelled' },
      { kind: 'lost', reason: '' },
    ] as const;
    assert.deepEqual(codes.map(exitCodeOf), [3, 139, 124, 137, 130, 125]);
  });

  it('tables show control characters escaped, in each cell, on one line', () => {
    const evil = 'a\x1b[2J\nb\u202e';
    const told = 'a\\x1b[2J b\\u202e';
    const node = {
      ...summary,
      why: evil,
      labels: { k: evil },
      runtimes: [evil],
      kernel: evil,
      trouble: { code: 'engine.failed', message: evil },
    };
    const image = {
      name: evil,
      ids: ['sha256:1'],
      size: 1,
      labels: {},
      ready: [evil],
      waiting: [],
      obtainable: [],
      unable: [{ node: 'n', why: evil }],
    };
    const machine = { name: evil, id: evil, message: evil, engineVersion: evil, address: evil, labels: { k: evil } };
    const job = { name: 'reap', what: 'x', schedule: '* * * * *', running: false, next: 5, startedAt: 1, outcome: 'failed', detail: evil };
    const verdicts: NodeVerdict[] = [
      { kind: 'passes', node: evil, chosen: true, ranks: [{ rank: 'image', detail: evil }] },
      { kind: 'passed_over', node: 'n', reasons: [{ code: 'image', permanent: true, text: evil }], troubles: [evil] },
    ];
    for (const [text, lines] of [
      [nodesTable([{ ...node, members: [fakeMachine('h', machine)] }], true, 5_000), 3],
      [imagesTable([image]), 2],
      [jobsTable([job], 5_000), 2],
      [verdictTable(verdicts), 4],
    ] as const) {
      assert.ok(!/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e]/.test(text), JSON.stringify(text));
      assert.equal(text.split('\n').length, lines);
      assert.ok(text.includes(told), text);
    }
  });

  it('the table of nodes says what is the matter, and what is not known', () => {
    const [, row = ''] = nodesTable([summary], false, 10_000).split('\n');
    assert.match(row, /^a +down, draining +- +- +- +0\/0 +0 +5 s +no engine answers$/);
    const ready = { ...summary, state: 'ready', cordoned: 'no', driver: 'engine', engine: '20.10', api: '1.41' } as const;
    const memory = { total: 8 * 1024 ** 3, bookable: 0, booked: 1024 ** 3, free: 1.5 * 1024 ** 3 };
    const [, well = ''] = nodesTable([{ ...ready, memory, sandboxes: { idle: 3, busy: 1 } }], false, 5_000).split('\n');
    assert.match(well, /^a +ready +engine +20\.10 \(1\.41\) +1 GiB \/ 1\.5 GiB +3\/1 +0 +now /);
  });

  it('the machines of a swarm are told below it: role, what its keeper decided, what it can’t get rid of', () => {
    const members = [
      fakeMachine('h1', { role: 'manager', leader: true, images: 3, labels: { disk: 'ssd' } }),
      fakeMachine('h2', { availability: 'drain', sandboxes: { idle: 0, busy: 2 }, leftOver: 1 }),
      fakeMachine('h3', { availability: 'drain', state: 'down', message: 'heartbeat failure', leftOver: 2 }),
      fakeMachine('h4', { availability: 'pause', sandboxes: { idle: 1, busy: 0 } }),
    ];
    const swarm = { ...summary, members };
    const [, , ...rows] = nodesTable([swarm], false, 5_000).split('\n');
    assert.match(rows[0] ?? '', /^ {2}h1 +ready +manager, leader +26\.1\.5 +4 GiB +0\/0 +3$/);
    assert.match(rows[1] ?? '', /^ {2}h2 +ready, draining +worker +26\.1\.5 +4 GiB +0\/2 +- +1 finished container can't be removed there$/);
    assert.match(rows[2] ?? '', /^ {2}h3 +down, drained .* heartbeat failure; 2 finished containers can't be removed there$/);
    assert.match(rows[3] ?? '', /^ {2}h4 +ready, cordoned +worker .* 1\/0 +-$/);
    assert.match(nodesTable([swarm], true, 5_000), /h1 .* amd64, 2 CPUs, 10\.0\.0\.1, id id-h1 .* disk=ssd/);
  });

  it('a drain is over when nothing is left on the node, or on the machine that was named', () => {
    const members = [
      fakeMachine('h1', { availability: 'drain', sandboxes: { idle: 1, busy: 0 } }),
      fakeMachine('h2', { availability: 'drain' }),
      fakeMachine('h3'),
    ];
    const swarm = { ...summary, state: 'ready', cordoned: 'no', members } as const;
    assert.deepEqual(drainProgress('a/h1', swarm), { ended: false, line: 'a/h1: ready, draining, 0 running, 1 idle' });
    assert.deepEqual(drainProgress('a/id-h2', swarm), { ended: true, line: 'a/id-h2: ready, drained, 0 running, 0 idle' });
    assert.deepEqual([drainProgress('a/h3', swarm).ended, drainProgress('a', swarm).ended], [false, false]);
    assert.deepEqual(drainProgress('a', { ...swarm, cordoned: 'drained' }), { ended: true, line: 'a: ready, drained, 0 running, 0 idle' });
    assert.throws(() => drainProgress('a/h9', swarm), code('node.unknown'));
  });

  it('shows below a node’s verdict why it starts no sandboxes', () => {
    const text = verdictTable([
      {
        kind: 'passes',
        node: 'swarm',
        chosen: true,
        ranks: [{ rank: 'warm', detail: 'no sandbox waits' }],
        troubles: ['no suitable node'],
      },
      { kind: 'passed_over', node: 'n', reasons: [{ code: 'cordoned', permanent: false, text: 'it is cordoned' }] },
    ]);
    assert.deepEqual(
      text.split('\n').map((line) => line.split(/ {2,}/)),
      [
        ['NODE', 'VERDICT', 'WHY'],
        ['swarm', 'chosen', 'warm: no sandbox waits'],
        ['', 'trouble', 'no suitable node'],
        ['n', 'passed over', 'it is cordoned'],
      ],
    );
  });

  it('tells how long ago in the unit that fits', () => {
    const before = (seconds: number) => ago(0, seconds * 1_000);
    assert.deepEqual(
      [before(0), before(1), before(45), before(600), before(10_000), before(400_000), ago(undefined, 0), ago(5, 0)],
      ['now', 'now', '45 s', '10 min', '3 h', '5 d', 'never', 'now'],
    );
  });

  it('a broken configuration ends with 78, a missing one with 66, a server that is not there with 69', async () => {
    const file = join(folder, 'k.yaml');
    await writeFile(file, 'quue: {}');
    const told: string[] = [];
    const write = process.stderr.write.bind(process.stderr);
    process.stderr.write = (text) => told.push(String(text)) > 0;
    try {
      assert.equal(await main(['--config', file, 'config', 'check']), 78);
      assert.equal(await main(['--config', join(folder, 'none.yaml'), 'nodes']), 66);
      assert.equal(await main(['--server', 'http://127.0.0.1:1', 'maintenance']), 69);
      assert.equal(await main(['--server', 'http://127.0.0.1:1', 'drain', 'a']), 69);
      assert.equal(await main(['--server', 'banana', 'nodes']), 69);
      assert.equal(await main(['nodes', '--frobnicate']), 64);
      assert.equal(await main(['--host', 'banana', 'nodes']), 64);
      assert.equal(await main(['--host', `unix://${folder}/none`, 'explain', 'no such file']), 64);
    } finally {
      process.stderr.write = write;
    }
    assert.match(told[0] ?? '', /k\.yaml:1: quue: unknown key; did you mean queue\?.*\[config\.invalid, user\]/);
    assert.ok(!told.some((text) => /\n\s+at /.test(text)), told.join(''));
  });

  it('every command and option has a description', async () => {
    const visit = (command: Command): void => {
      assert.ok(command.description(), command.name());
      for (const option of command.options) assert.ok(option.description, `${command.name()} ${option.flags}`);
      command.commands.forEach((child) => visit(child));
    };
    visit(await program());
  });

  it('lists a command that is not loaded as it lists the command itself', async () => {
    const list = (root: Command) => root.commands.map((command) => [command.name(), command.usage(), command.summary()]);
    const stubs = await program([]);
    assert.ok(stubs.commands.every(({ options }) => options.length === 0));
    assert.deepEqual(list(stubs), list(await program()));
    assert.equal(stubs.helpInformation(), (await program()).helpInformation());
  });
});
