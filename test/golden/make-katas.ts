import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { mock } from 'node:test';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Outcome } from '../../src/model/outcome.ts';
import { noChanges, type RunResult, type StepResult } from '../../src/model/result.ts';
import type { Given } from '../../src/katas/avatar-test.ts';
import { Rules } from '../../src/katas/rules.ts';
import type { Ending } from '../../src/katas/record.ts';
import type { WholeFile } from '../../src/katas/kata-files.ts';
import { Spool } from '../../src/katas/spool.ts';
import type { StartPoint } from '../../src/katas/start-point.ts';
import { goldenJson } from '../support/golden.ts';
import { git, testStore } from '../support/katas.ts';
import { fullStep, hostileNames, hostileTimes, outcomes, plainResult, timeOf } from './inputs.ts';

/** What an avatar's repository means. */
export interface AvatarExpectation {
  /** Newest first. */
  log: Record<string, unknown>[];
  /** By the number of the test. */
  tests: Record<string, { record: Record<string, unknown>; stdout: Buffer; stderr: Buffer }>;
  /** All files and folders after the last test, sorted by path. */
  files: Record<string, unknown>[];
  folders: Record<string, unknown>[];
}
export interface KatasExpectation {
  katas: Record<string, unknown>[];
  /** By `kata/avatar`. */
  avatars: Record<string, AvatarExpectation>;
  /** The kata whose bundle there is, and its avatars in it, as they stood then. */
  bundle: { kata: string; avatars: Record<string, AvatarExpectation> };
  /** Documents, by the name of their file. */
  documents: { tests: Record<string, unknown>; kata: unknown; files: Record<string, unknown>[]; folders: Record<string, unknown>[] };
  /** How many tests have commits that were not made. */
  recovered: number;
}

const since = Date.parse('2026-09-21T12:00:00.000Z');
const iso = (at: number) => new Date(at).toISOString();
const seconds = (at: number) => Math.floor(at / 1000) * 1000;
const byPath = (a: { path: string }, b: { path: string }) => (a.path < b.path ? -1 : 1);

const files = (...list: [path: string, content: string][]): WholeFile[] =>
  list.map(([path, content]) => ({ path, mode: 0o644, mtimeNs: 1_700_000_000_123_456_789n, content: Buffer.from(content) }));
const fullStart: StartPoint = {
  manifest: {
    display_name: 'C (gcc), "assert" \u{1f9ea}',
    image_name: 'registry.example:5000/kata/gcc-assert:1.2',
    visible_filenames: ['cyber-dojo.sh', 'hiker.c'],
    filename_extension: ['.c', '.h'],
    hidden_filenames: ['secret.*\\.txt$'],
    highlight_filenames: ['hiker.c'],
    progress_regexs: ['All tests passed', 'FAILED'],
    tab_size: 4,
    max_seconds: 20,
    language: 'C',
    test_framework: 'assert',
  },
  rules: Rules.parse({
    rules: [{ show: '*.gcov' }, { hide: ['*.o', 'obj/'] }, { ignore: '__pycache__/' }],
    otherwise: 'show',
    back: ['*', '!*.tmp'],
  }),
  files: files(['cyber-dojo.sh', 'make test\n'], ['hiker.c', 'int x;\n']),
};
const plainStart: StartPoint = {
  manifest: { display_name: 'plain', image_name: 'plain', visible_filenames: ['cyber-dojo.sh'], filename_extension: '.txt' },
  rules: Rules.parse({}),
  files: files(['cyber-dojo.sh', '']),
};

/** What a person hands in: hostile names, times and modes, and two names that no repository may hold. */
const given: Given & { files: WholeFile[] } = {
  files: [
    { path: 'cyber-dojo.sh', mode: 0o755, mtimeNs: 5n, content: Buffer.from('make test\n') },
    ...hostileNames.map((path, index) => ({
      path,
      mode: [0o644, 0o755, 0o7777, 0o600][index % 4] ?? 0,
      mtimeNs: timeOf(index),
      content: Buffer.from([index, 0, 0xff]),
    })),
    { path: '.GIT/config', mode: 0o644, mtimeNs: 1n, content: Buffer.from('no') },
    { path: 'git~1', mode: 0o644, mtimeNs: 1n, content: Buffer.from('no') },
  ],
  folders: hostileTimes.map((mtimeNs, index) => ({ path: `hollow ${index}`, mode: [0o755, 0o1777][index % 2] ?? 0, mtimeNs })),
};
const gitFolders = ['.GIT/config', 'git~1'];
const mine = given.files.filter(({ path }) => !gitFolders.includes(path));

/** What a run of the first test made, and what becomes of it by the rules. */
const made = [
  { path: 'hiker.gcov', fate: 'show' },
  { path: 'obj/odd \udcff\n', fate: 'hide' },
  { path: '__pycache__/a.pyc', fate: 'ignore' },
] as const;
const madeChanges: Partial<RunResult['changes']> = {
  files: made.map(({ path }, index) => ({
    change: 'created',
    path,
    mode: 0o640 + index,
    mtimeNs: timeOf(index + 3),
    content: Buffer.from([0xfe, index]),
  })),
  folders: [{ path: 'new \udc80 folder', mode: 0o700, mtimeNs: -5n }],
  omitted: [{ path: 'pipe\udcff', reason: 'fifo' }],
  omittedCount: 7,
};

const printedNothing = ({ stdout: _out, stderr: _err, stdoutTail: _outTail, stderrTail: _errTail, ...step }: StepResult) => step;
/** A result with every field that a test's record keeps. */
const fullOf = (outcome: Outcome, changes: Partial<RunResult['changes']> = {}): RunResult => ({
  ...plainResult('run "full"', outcome),
  ...{ node: 'nöde "1"', attempt: 3, warm: true, resumed: true, light: 'amber' },
  steps: [fullStep(outcome)],
  changes: { ...noChanges(), ...changes },
  timings: { queueMs: 1.5, acquireMs: 2.25, executeMs: 10_000, collectMs: 0.125, totalMs: 10_003.875 },
});
const plainOf = (outcome: Outcome, changes: Partial<RunResult['changes']> = {}): RunResult => ({
  ...plainResult('run1', outcome),
  changes: { ...noChanges(), ...changes },
});
/** What lies in `stdout` and `stderr` of a test: cut streams have a line for what is missing. */
const printed = ({ steps }: RunResult) => {
  const full = steps.some(({ stdoutTail }) => stdoutTail !== undefined);
  if (!full) return { stdout: Buffer.from('All tests passed\n'), stderr: Buffer.alloc(0) };
  const omission = Buffer.from('\n[katafleet: 5000000000 bytes of output left out here]\n');
  const stdout = Buffer.concat([Buffer.from([0, 0xff, 0x80, 0x0a, 0xc3]), omission, Buffer.from([0xa9, 0x0a])]);
  return { stdout, stderr: Buffer.from('größer\u0000end\n') };
};

/** Words of an outcome, as this release writes them into commits. */
function words(outcome: Outcome): string {
  switch (outcome.kind) {
    case 'exited':
      return `exited with ${outcome.code}`;
    case 'signalled':
      return `killed by signal ${outcome.signal}`;
    case 'timed_out':
      return outcome.clock === 'wall' ? 'timed out' : 'used up its CPU time';
    case 'out_of_memory':
      return 'out of memory';
    case 'out_of_disk':
      return 'out of disk';
    case 'cancelled':
      return 'cancelled';
    case 'lost':
      return `lost: ${outcome.reason.replaceAll('\n', '\\u000a').replaceAll('\u001b', '\\u001b')}`;
  }
}

/** An avatar's history as it is put together from what went in. */
class Story {
  readonly told: AvatarExpectation = {
    log: [],
    tests: {},
    files: fullStart.files.map((file) => ({ ...file, hidden: false })),
    folders: [],
  };

  constructor() {
    this.told.log.push({ kind: 'start', test: 0, at: since, light: undefined, outcome: undefined, node: undefined });
  }

  /** A test of which the lists of its record are `lists`. */
  test(test: number, at: number, endedAt: number | undefined, ending: Ending, lists: object = {}): void {
    const end = endedAt === undefined ? {} : { at: seconds(endedAt) };
    const result = ending.kind === 'ran' ? ending.result : undefined;
    const outcome: Outcome = ending.kind === 'ran' ? ending.result.outcome : { kind: 'lost', reason: ending.reason };
    this.told.log.unshift(
      { kind: 'tested', test, ...end, light: result?.light, outcome: words(outcome), node: result?.node },
      { kind: 'saved', test, at: seconds(at), light: undefined, outcome: undefined, node: undefined },
    );
    this.told.tests[test] = {
      record: {
        ...{ version: 1, test, at: iso(at), image: fullStart.manifest.image_name, outcome, light: result?.light },
        ...{ run: result?.id, node: result?.node, attempt: result?.attempt, warm: result?.warm, resumed: result?.resumed },
        ...{ timings: result?.timings, steps: result?.steps.map(printedNothing) ?? [] },
        ...{ created: [], changed: [], deleted: [], hidden: [], ignored: [], leftOut: [], leftOutCount: 0, ...lists },
      },
      ...(result ? printed(result) : { stdout: Buffer.alloc(0), stderr: Buffer.alloc(0) }),
    };
  }

  /** The files as they are after a test with what this file's `given` and `made` say. */
  handedIn(): void {
    const keeps = (fate: string) => fate !== 'ignore';
    this.told.files = [
      ...mine.map((file) => ({ ...file, hidden: false })),
      ...(madeChanges.files ?? []).flatMap(({ change: _change, ...file }, index) => {
        const { fate = 'ignore' } = made[index] ?? {};
        return keeps(fate) ? [{ ...file, hidden: fate === 'hide' }] : [];
      }),
    ].sort(byPath);
    this.told.folders = [...(given.folders ?? []), ...(madeChanges.folders ?? [])].map((each) => ({ ...each, hidden: false })).sort(byPath);
  }

  static readonly lists = {
    created: made.filter(({ fate }) => fate !== 'ignore').map(({ path }) => path),
    hidden: made.filter(({ fate }) => fate === 'hide').map(({ path }) => path),
    ignored: made.filter(({ fate }) => fate === 'ignore').map(({ path }) => path),
    leftOut: [...gitFolders.map((path) => ({ path, reason: 'git_folder' })), ...(madeChanges.omitted ?? [])],
    leftOutCount: 9,
  };
}

/** Writes a folder of katas, a bundle of one and the documents of its commits, and what they mean. */
export async function makeKatas(folder: string): Promise<void> {
  const root = mkdtempSync(join(tmpdir(), 'katafleet-golden-'));
  mock.timers.enable({ apis: ['Date'], now: since });
  const store = await testStore({ folder: root });
  try {
    const { katas, script } = store;
    const [full, plain] = ['Gold3n', 'plain_1-x'];
    await katas.create(fullStart, full);
    await katas.create(plainStart, plain);
    let clock = since;
    const stories: Record<string, Story> = {};
    const later = () => {
      clock += 1_001;
      mock.timers.setTime(clock);
      return clock;
    };
    const test = async (avatar: string, number: number, result: RunResult, what?: Given): Promise<void> => {
      const story = (stories[avatar] ??= new Story());
      const at = later();
      let endedAt = 0;
      script.run = async () => {
        endedAt = later();
        return result;
      };
      await (
        await katas.test(full, avatar, what)
      ).committed;
      story.test(number, at, endedAt, { kind: 'ran', result }, what ? Story.lists : {});
      if (what) story.handedIn();
    };
    for (const [index, outcome] of outcomes.entries()) {
      await test('lion', 2 * index + 1, fullOf(outcome, index === 0 ? madeChanges : {}), index === 0 ? given : undefined);
      await test('lion', 2 * index + 2, plainOf(outcome));
    }
    {
      const story = (stories['bear'] = new Story());
      const at = later();
      script.run = () => Promise.reject(new Error('the node "a"\nis gone \u001b[0m'));
      await katas.test(full, 'bear', undefined).catch(() => undefined);
      await katas.close();
      story.test(1, at, at, { kind: 'failed', reason: 'the node "a"\nis gone \u001b[0m' });
    }
    await test('wolf', 1, plainOf({ kind: 'exited', code: 1 }));
    await katas.close();

    const bundled = structuredClone(Object.fromEntries(Object.entries(stories).map(([name, { told }]) => [name, told])));
    await katas.export(full, join(folder, 'kata.bundle'));
    await documents(root, full, join(folder, 'documents'), 2 * outcomes.length);

    const pending = (avatar: string) => join(root, full, 'avatars', avatar, 'pending');
    const image = fullStart.manifest.image_name;
    const owe = async (avatar: string, number: number, what: (Given & { files: WholeFile[] }) | undefined, ending: Ending | undefined) => {
      const story = (stories[avatar] ??= new Story());
      const spool = new Spool(pending(avatar), number);
      const at = later();
      await spool.begin({ test: number, at, image, given: what && { files: what.files, folders: [...(what.folders ?? [])] } });
      const endedAt = ending && later();
      if (ending && endedAt !== undefined) await spool.end({ at: endedAt, ending });
      spool.close();
      const abandoned: Ending = { kind: 'failed', reason: 'katafleet ended while the test ran' };
      story.test(number, at, endedAt, ending ?? abandoned, what && ending ? Story.lists : {});
      if (what) story.handedIn();
    };
    await owe('wolf', 2, given, { kind: 'ran', result: fullOf({ kind: 'out_of_disk' }, madeChanges) });
    await owe('wolf', 3, undefined, { kind: 'failed', reason: 'engine "x"\ngone' });
    await owe('wolf', 4, undefined, undefined);
    await owe('panda', 1, undefined, undefined);

    const lion = bundled['lion'];
    const kata = (id: string, { manifest, rules }: StartPoint) => ({ version: 1, id, created: iso(since), manifest, rules });
    const expectation: KatasExpectation = {
      katas: [kata(full, fullStart), kata(plain, plainStart)],
      avatars: Object.fromEntries(Object.entries(stories).map(([name, { told }]) => [`${full}/${name}`, told])),
      bundle: { kata: full, avatars: bundled },
      documents: {
        tests: Object.fromEntries(Object.entries(lion?.tests ?? {}).map(([number, { record }]) => [`test-${number}.json`, record])),
        kata: kata(full, fullStart),
        files: (lion?.files ?? []).map(({ path, mode, mtimeNs, hidden }) => ({ path, mode, mtimeNs, hidden })),
        folders: lion?.folders ?? [],
      },
      recovered: 4,
    };
    writeFileSync(join(folder, 'katas.json'), goldenJson(expectation));
    for (const name of readdirSync(join(root, full, 'avatars'))) rmSync(join(root, full, 'avatars', name, 'lock'), { force: true });
    const stamps = ['--sort=name', '--mtime=@0', '--owner=0', '--group=0', '--numeric-owner', '--format=ustar'];
    execFileSync('tar', [...stamps, '-cf', join(folder, 'katas.tar'), '-C', root, full, plain]);
  } finally {
    mock.timers.reset();
    await store.dispose();
  }
}

/** The documents of an avatar's last commits, as files that a person can look at. */
async function documents(root: string, kata: string, folder: string, tests: number): Promise<void> {
  mkdirSync(folder);
  const repository = join(root, kata, 'avatars/lion/repository.git');
  const write = async (name: string, object: string) => writeFileSync(join(folder, name), await git(repository, 'show', object));
  for (let test = 1; test <= tests; test += 1) await write(`test-${test}.json`, `main~${2 * (tests - test)}:test.json`);
  await write('kata.json', 'main:kata.json');
  await write('files.json', 'main:files.json');
}
