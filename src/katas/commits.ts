import { sayOutcome } from '../model/outcome.ts';
import { type CommitPlan } from './fast-import.ts';
import { filesJson, json, type KataRecord, type TestRecord } from './record.ts';
import { noFiles, type KataFiles } from './kata-files.ts';

/** Paths in a commit's tree. */
export const inTree = {
  sandbox: 'sandbox',
  files: 'files.json',
  test: 'test.json',
  kata: 'kata.json',
  stdout: 'stdout',
  stderr: 'stderr',
} as const;

/** Lines at the end of a commit's message that programs read: git-interpret-trailers(1). */
export const trailer = {
  commit: 'Katafleet-Commit',
  test: 'Katafleet-Test',
  light: 'Katafleet-Light',
  outcome: 'Katafleet-Outcome',
  node: 'Katafleet-Node',
  run: 'Katafleet-Run',
} as const;

const katafleet = { name: 'katafleet', email: 'katafleet@localhost' };

/** Returns the first commit of every avatar: the start-point. */
export function startCommit(kata: KataRecord, sandbox: KataFiles): CommitPlan {
  const { puts, deletes } = difference(noFiles, sandbox);
  return {
    author: katafleet,
    at: Date.parse(kata.created),
    message: message(`start-point: ${line(kata.manifest.display_name)}`, [], { [trailer.commit]: 'start' }),
    deletes,
    puts: [...puts, { path: inTree.kata, content: json(kata) }, { path: inTree.files, content: filesJson(sandbox) }],
  };
}

/** Returns the first commit of a test: the person's changes. */
export function savedCommit(test: number, avatar: string, kata: string, at: number, before: KataFiles, after: KataFiles): CommitPlan {
  const { puts, deletes, created, changed } = difference(before, after);
  const lists: [string, string[]][] = [
    ['wrote', created],
    ['edited', changed],
    ['deleted', deletes.map(inSandbox)],
  ];
  return {
    author: { name: avatar, email: `${avatar}@${kata.toLowerCase()}.kata.invalid` },
    at,
    message: message(`${test} saved: ${summary(lists)}`, lists, { [trailer.commit]: 'saved', [trailer.test]: String(test) }),
    deletes,
    puts: [...puts, { path: inTree.files, content: filesJson(after) }],
  };
}

/** Returns the second commit of a test: the tools' changes, and the result. */
export function testedCommit(
  record: TestRecord,
  output: { stdout: Uint8Array; stderr: Uint8Array },
  at: number,
  before: KataFiles,
  after: KataFiles,
): CommitPlan {
  const { puts, deletes, created, changed } = difference(before, after);
  const lists: [string, string[]][] = [
    ['created', created],
    ['changed', changed],
    ['deleted', deletes.map(inSandbox)],
    ['left out', record.leftOut.map(({ path, reason }) => `${path} (${reason.replaceAll('_', ' ')})`)],
  ];
  const { test, light, outcome, node, run } = record;
  return {
    author: katafleet,
    at,
    message: message(`${test} ${light ?? 'no light'}: ${line(sayOutcome(outcome))}`, lists, {
      [trailer.commit]: 'tested',
      [trailer.test]: String(test),
      ...(light === undefined ? {} : { [trailer.light]: light }),
      [trailer.outcome]: sayOutcome(outcome),
      ...(node === undefined ? {} : { [trailer.node]: node }),
      ...(run === undefined ? {} : { [trailer.run]: run }),
    }),
    deletes,
    puts: [
      ...puts,
      { path: inTree.files, content: filesJson(after) },
      { path: inTree.test, content: json(record) },
      { path: inTree.stdout, content: output.stdout },
      { path: inTree.stderr, content: output.stderr },
    ],
  };
}

const slash = `${inTree.sandbox}/`;
const inSandbox = (path: string) => path.slice(slash.length);

/** Returns the changes from one sandbox folder to another. Contents of the first one are in the repository already. */
function difference(
  before: KataFiles,
  after: KataFiles,
): Pick<CommitPlan, 'deletes'> & { puts: CommitPlan['puts'][number][]; created: string[]; changed: string[] } {
  const there = new Set(Array.from(before.files.values(), ({ oid }) => oid));
  const [created, changed]: [string[], string[]] = [[], []];
  const puts: CommitPlan['puts'][number][] = [];
  for (const [path, file] of after.files) {
    const old = before.files.get(path);
    const executable = (file.mode & 0o100) !== 0;
    if (old && old.oid === file.oid && ((old.mode & 0o100) !== 0) === executable) continue;
    (old ? changed : created).push(path);
    if (!file.content && !there.has(file.oid)) throw new Error(`the content of ${JSON.stringify(path)} is nowhere`);
    const content = there.has(file.oid) || !file.content ? { oid: file.oid } : file.content;
    puts.push({ path: slash + path, executable, content });
  }
  const deletes = Array.from(before.files.keys()).filter((path) => !after.files.has(path));
  return { puts, deletes: deletes.map((path) => slash + path), created, changed };
}

/** Puts names and reasons on one line, so that none of them can start a trailer. */
function line(text: string): string {
  return text
    .replace(
      /[\u0000-\u001f\u007f-\u009f\u2028\u2029\ud800-\udfff]/gu,
      (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
    )
    .slice(0, 500);
}

function summary(lists: readonly [string, string[]][]): string {
  const changes = lists.filter(([, paths]) => paths.length > 0);
  if (changes.length === 0) return 'nothing new';
  return changes
    .map(([verb, paths]) => `${verb} ${paths.length === 1 ? line(paths[0] ?? '').slice(0, 60) : `${paths.length} files`}`)
    .join(', ');
}

/** Most names of each list in a message; files.json and the tree have all of them. */
const mostNames = 50;

function message(subject: string, lists: readonly [string, string[]][], trailers: Record<string, string>): string {
  const body = lists
    .filter(([, paths]) => paths.length > 0)
    .map(([verb, paths]) => {
      const names = paths.slice(0, mostNames).map((path) => `  ${line(path)}`);
      return [`${verb}:`, ...names, ...(paths.length > mostNames ? [`  and ${paths.length - mostNames} more`] : [])].join('\n');
    })
    .join('\n');
  const last = Object.entries(trailers).map(([name, value]) => `${name}: ${line(value)}`);
  return `${[subject, ...(body === '' ? [] : [body]), last.join('\n')].join('\n\n')}\n`;
}
