import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import { KatafleetError } from '../core/errors.ts';
import { sayOutcome } from '../core/outcome.ts';
import { formatBytes } from '../core/quantity.ts';
import type { RunTest, Tested } from '../katas/avatar.ts';
import type { Entry } from '../katas/read.ts';
import type { Sandbox } from '../katas/sandbox.ts';
import { Katas, type ShownTest } from '../katas/store.ts';
import { exitCodeOf } from './exit-code.ts';
import { readFolder } from './folder.ts';
import { asJson, report } from './report.ts';
import { ago, table } from './table.ts';
import { colours, escapeControls, outputTo } from './terminal.ts';
import { type At, configOf, fleetOf } from './where.ts';
import { writeBack } from './write-back.ts';

/** The start-points that come with katafleet, the same from src/ and from dist/. */
const startPoints = fileURLToPath(new URL('../../start-points/', import.meta.url));

export function kataCommand(at: At): Command {
  const kata = new Command('kata')
    .description('Katas: exercises whose participants’ work is kept in git, each test as two commits.')
    .option('--store <folder>', 'where the katas lie (default: KATAFLEET_KATAS, else katas.folder of the configuration)');
  const folder = () => kata.opts<{ store?: string }>().store ?? (process.env['KATAFLEET_KATAS'] || configOf(at()).katas.folder);
  const trouble = (text: string) => process.stderr.write(`katafleet: ${escapeControls(text)}\n`);
  const kept = (run: RunTest = () => Promise.reject(new KatafleetError('internal', 'this command runs nothing'))) =>
    new Katas({ folder: folder(), run, trouble });
  const json = (value: unknown) => process.stdout.write(`${JSON.stringify(value)}\n`);
  const say = (text: string) => process.stdout.write(`${text}\n`);

  kata
    .command('create')
    .description('Makes a kata from a start-point, and prints its id.')
    .argument('<start-point>', 'a folder with manifest.json and, where wanted, kata.yaml; or the name of one that comes with katafleet')
    .option('--id <id>', 'its id (default: made up)')
    .option('--json', 'print JSON')
    .action(async (startPoint: string, options: { id?: string; json?: boolean }) => {
      const made = await kept().create(startPointAt(startPoint), options.id);
      if (options.json) json(made);
      else say(made.id);
    });

  kata
    .command('list')
    .description('Lists the katas and their avatars.')
    .option('--json', 'print JSON')
    .action(async (options: { json?: boolean }) => {
      const found = await kept().list();
      if (options.json) json(found.map(({ kata: record, avatars }) => ({ ...record, avatars })));
      else if (found.length === 0) say(`no katas in ${folder()}: katafleet kata create START_POINT`);
      else {
        const rows = found.map(({ kata: { id, created, manifest }, avatars }) => [
          id,
          manifest.display_name,
          manifest.image_name,
          ago(Date.parse(created), Date.now()),
          avatars.length > 8 ? `${avatars.slice(0, 8).join(' ')} and ${avatars.length - 8} more` : avatars.join(' ') || '-',
        ]);
        say(table(['KATA', 'START-POINT', 'IMAGE', 'AGE', 'AVATARS'], rows));
      }
    });

  avatarCommand('test', 'tests an avatar’s files, and keeps what was written and what came of it')
    .description(
      'Hands the files of DIR in as an avatar’s, runs their tests, and writes what the tools made or changed back into DIR. Without DIR the avatar’s files are tested as they are. The avatar comes to be with its first test.',
    )
    .argument('[dir]', 'folder with all files that the person sees; what is missing there is deleted')
    .option('--no-write', 'leave DIR as it is')
    .option('-q, --quiet', "print the program's output only")
    .action(async (id: string, avatar: string, dir: string | undefined, options: { json?: boolean; write: boolean; quiet?: boolean }) => {
      const cancel = new AbortController();
      const stop = () => cancel.abort(new Error('interrupted'));
      process.once('SIGINT', stop).once('SIGTERM', stop);
      await using fleet = fleetOf(at());
      await using katas = kept((request, { signal, onOutput }) =>
        fleet.run(request, { ...(signal ? { signal } : {}), ...(onOutput ? { onOutput } : {}) }),
      );
      const print = { stdout: outputTo(process.stdout), stderr: outputTo(process.stderr) };
      const tested = await katas.test(id, avatar, dir === undefined ? undefined : await readFolder(dir), {
        signal: cancel.signal,
        ...(options.json ? {} : { onOutput: (_step, stream, bytes) => print[stream](bytes) }),
      });
      process.off('SIGINT', stop).off('SIGTERM', stop);
      const out = dir !== undefined && options.write ? dir : undefined;
      if (out !== undefined) await writeBack(out, tested.shown);
      const commits = await tested.committed;
      if (options.json)
        json({
          kata: id,
          avatar,
          test: tested.test,
          ...asJson(tested.result, tested.shown),
          hidden: tested.hidden,
          ignored: tested.ignored,
          commits,
        });
      else if (!options.quiet) report(tested.result, out, tested.shown, notesOf(tested, commits.tested));
      process.exitCode = exitCodeOf(tested.result.outcome);
    });

  avatarCommand('log', 'an avatar’s tests, newest first')
    .option('-n, --number <count>', 'so many at most', '50')
    .action(async (id: string, avatar: string, options: { json?: boolean; number: string }) => {
      const most = whole('number', options.number);
      const entries = await kept().log(id, avatar, 2 * most + 1);
      if (options.json) json(entries.map((entry) => ({ ...entry, at: new Date(entry.at).toISOString() })));
      else say(logTable(entries, most));
    });

  avatarCommand('show', 'one test: what was printed, how it went, what changed')
    .argument('[test]', 'its number (default: the last)')
    .action(async (id: string, avatar: string, test: string | undefined, options: { json?: boolean }) => {
      const shown = await kept().show(id, avatar, test === undefined ? undefined : whole('test', test));
      if (options.json) json({ ...shown.record, stdout: shown.stdout.toString('utf8'), stderr: shown.stderr.toString('utf8') });
      else await showTest(shown);
    });

  avatarCommand('files', 'an avatar’s files, listed or written into a folder')
    .option('-o, --out <folder>', 'write them into this folder, which must be empty or not there')
    .option('-t, --test <number>', 'as they were after this test')
    .option('-a, --all', 'those too that tools made and that are kept out of sight')
    .action(async (id: string, avatar: string, options: { json?: boolean; out?: string; test?: string; all?: boolean }) => {
      const sandbox = await kept().files(id, avatar, {
        ...(options.test === undefined ? {} : { test: whole('test', options.test) }),
        hidden: options.all ?? false,
      });
      if (options.out !== undefined) await writeFolder(options.out, sandbox);
      if (options.json) json(filesJson(sandbox));
      else if (options.out === undefined) say(filesTable(sandbox));
    });

  kata
    .command('export')
    .description('Writes a kata, or one avatar of it, as a git bundle: git clone can read it, and so can katafleet kata import.')
    .argument('<kata>', 'its id')
    .argument('[avatar]', 'only this one')
    .option('-o, --out <file>', 'the bundle (default: KATA.bundle)')
    .action(async (id: string, avatar: string | undefined, options: { out?: string }) => {
      const file = options.out ?? `${id}.bundle`;
      await kept().export(id, file, avatar);
      say(file);
    });

  kata
    .command('import')
    .description('Takes a kata in from a bundle, whoever made it, and prints its id.')
    .argument('<bundle>', 'the file')
    .option('--id <id>', 'another id than its own')
    .option('--json', 'print JSON')
    .action(async (file: string, options: { id?: string; json?: boolean }) => {
      const taken = await kept().import(file, options.id);
      if (options.json) json(taken);
      else say(taken.id);
    });

  function avatarCommand(name: string, summary: string): Command {
    return kata
      .command(name)
      .summary(summary)
      .description(`${summary.charAt(0).toUpperCase()}${summary.slice(1)}.`)
      .argument('<kata>', 'its id')
      .argument('<avatar>', 'its name: lower-case letters, digits and -')
      .option('--json', 'print JSON');
  }
  return kata;
}

/** @throws kata.invalid */
function startPointAt(given: string): string {
  const own = join(startPoints, given);
  return !existsSync(join(given, 'manifest.json')) && /^[\w-]+$/.test(given) && existsSync(own) ? own : given;
}

function whole(name: string, text: string): number {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw new KatafleetError('request.invalid', `${name}: expected a number from 1, got ${JSON.stringify(text)}`);
}

function notesOf({ test, hidden, ignored }: Tested, commit: string): string[] {
  const few = (paths: readonly string[]) => `${paths.slice(0, 5).join(', ')}${paths.length > 5 ? ` and ${paths.length - 5} more` : ''}`;
  return [
    ...(hidden.length > 0 ? [`kept out of sight: ${few(hidden)}`] : []),
    ...(ignored.length > 0 ? [`ignored: ${few(ignored)}`] : []),
    `test ${test}, commit ${commit.slice(0, 10)}`,
  ];
}

/** A row for each test: the lines of its two commits. */
export function logTable(entries: readonly Entry[], most: number): string {
  const c = colours(process.stdout);
  const tests = entries.filter(({ kind }) => kind === 'tested').slice(0, most);
  const written = new Map(
    entries.filter(({ kind }) => kind === 'saved').map((entry) => [entry.test, entry.subject.replace(/^\d+ saved: /, '')]),
  );
  const rows = tests.map(({ test, light, outcome, at, node, commit }) => [
    String(test),
    light ?? '-',
    outcome ?? '-',
    written.get(test) ?? '-',
    ago(at, Date.now()),
    node ?? '-',
    commit.slice(0, 10),
  ]);
  const paint = { red: c.red, amber: c.yellow, green: c.green };
  return table(['TEST', 'LIGHT', 'HOW IT ENDED', 'WHAT WAS WRITTEN', 'AGE', 'NODE', 'COMMIT'], rows, (row, column, cell) => {
    const light = tests[row]?.light;
    return column === 1 && light ? paint[light](cell) : cell;
  });
}

async function showTest({ record, stdout, stderr }: ShownTest): Promise<void> {
  const c = colours(process.stderr);
  const paint = { red: c.red, amber: c.yellow, green: c.green };
  await outputTo(process.stdout)(stdout);
  await outputTo(process.stderr)(stderr);
  const light = record.light ? `${paint[record.light](`● ${record.light}`)}  ` : '';
  const where = record.node === undefined ? '' : ` on ${record.node}`;
  const lists: [string, readonly string[]][] = [
    ['+', record.created],
    ['~', record.changed],
    ['-', record.deleted],
    ['!', record.leftOut.map(({ path, reason }) => `${path} (${reason.replaceAll('_', ' ')})`)],
  ];
  const lines = [
    `${light}${c.bold(escapeControls(sayOutcome(record.outcome)))}  ${c.dim(`test ${record.test}, ${record.at}${where}`)}`,
    ...lists.flatMap(([mark, paths]) =>
      paths.map((path) => `  ${mark} ${escapeControls(path)}${record.hidden.includes(path) ? c.dim('  out of sight') : ''}`),
    ),
  ];
  process.stderr.write(`${lines.join('\n')}\n`);
}

const sorted = <T>(entries: ReadonlyMap<string, T>) => [...entries].sort(([a], [b]) => (a < b ? -1 : 1));

function filesTable({ files, folders }: Sandbox): string {
  const rows = [
    ...sorted(files).map(([path, { size, mode, mtimeNs, hidden }]) => [
      (mode & 0o7777).toString(8).padStart(4, '0'),
      formatBytes(size),
      new Date(Number(mtimeNs / 1_000_000n)).toISOString().slice(0, 19),
      hidden ? 'out of sight' : '',
      path,
    ]),
    ...sorted(folders).map(([path, { mode, hidden }]) => [
      (mode & 0o7777).toString(8).padStart(4, '0'),
      '-',
      '-',
      hidden ? 'out of sight' : '',
      `${path}/`,
    ]),
  ];
  return table(['MODE', 'SIZE', 'CHANGED', '', 'FILE'], rows);
}

function filesJson({ files, folders }: Sandbox): object {
  return {
    files: sorted(files).map(([path, { mode, mtimeNs, hidden, content = Buffer.alloc(0) }]) => ({
      path,
      mode,
      mtimeNs: String(mtimeNs),
      hidden,
      content: Buffer.from(content).toString('base64'),
    })),
    folders: sorted(folders).map(([path, { mode, mtimeNs, hidden }]) => ({ path, mode, mtimeNs: String(mtimeNs), hidden })),
  };
}

async function writeFolder(folder: string, { files, folders }: Sandbox): Promise<void> {
  const there = await readdir(folder).catch(() => []);
  if (there.length > 0)
    throw new KatafleetError('output.unwritable', `${folder} is not empty: what is in it would be handed in at the next test`, {
      hint: 'name a folder that is empty or not there',
    });
  await writeBack(folder, {
    files: sorted(files).map(([path, { mode, mtimeNs, content = Buffer.alloc(0) }]) => ({
      change: 'created' as const,
      path,
      mode,
      mtimeNs,
      content: Buffer.from(content),
    })),
    folders: sorted(folders).map(([path, { mode, mtimeNs }]) => ({ path, mode, mtimeNs })),
    deleted: [],
  });
}
