import { listed } from '../../base/listed.ts';
import { sayOutcome } from '../../model/outcome.ts';
import { ago, formatBytes } from '../../model/quantity.ts';
import type { Tested } from '../../katas/avatar-test.ts';
import type { LogEntry } from '../../katas/read.ts';
import type { KataFiles } from '../../katas/kata-files.ts';
import type { ShownTest } from '../../katas/store.ts';
import { table } from './table.ts';
import { colours, escapeControls, escapeLine, outputTo } from './terminal.ts';

/** How katas are shown on a terminal and as JSON. */

export function notesOf({ test, hidden, ignored }: Tested): string[] {
  return [
    ...(hidden.length > 0 ? [`kept out of sight: ${listed(hidden, 5)}`] : []),
    ...(ignored.length > 0 ? [`ignored: ${listed(ignored, 5)}`] : []),
    `test ${test}`,
  ];
}

/** Returns a table with a row for each test, from the messages of its two commits. */
export function logTable(entries: readonly LogEntry[], most: number): string {
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

export async function showTest({ record, stdout, stderr }: ShownTest): Promise<void> {
  const c = colours(process.stderr);
  const paint = { red: c.red, amber: c.yellow, green: c.green };
  await outputTo(process.stdout)(stdout);
  await outputTo(process.stderr)(stderr);
  const light = record.light ? `${paint[record.light](`● ${record.light}`)}  ` : '';
  const where = record.node === undefined ? '' : ` on ${escapeLine(record.node)}`;
  const lists: [string, readonly string[]][] = [
    ['+', record.created],
    ['~', record.changed],
    ['-', record.deleted],
    ['!', record.leftOut.map(({ path, reason }) => `${path} (${reason.replaceAll('_', ' ')})`)],
  ];
  const lines = [
    `${light}${c.bold(escapeLine(sayOutcome(record.outcome)))}  ${c.dim(`test ${record.test}, ${record.at}${where}`)}`,
    ...lists.flatMap(([mark, paths]) =>
      paths.map((path) => `  ${mark} ${escapeControls(path)}${record.hidden.includes(path) ? c.dim('  out of sight') : ''}`),
    ),
  ];
  process.stderr.write(`${lines.join('\n')}\n`);
}

export const sorted = <T>(entries: ReadonlyMap<string, T>) => [...entries].sort(([a], [b]) => (a < b ? -1 : 1));

/** Returns a time as UTC with seconds; as a number of ns if a Date cannot hold it. */
function moment(ns: bigint): string {
  const date = new Date(Number(ns / 1_000_000n));
  return Number.isNaN(date.getTime()) ? `${ns} ns` : date.toISOString().slice(0, -5);
}

export function filesTable({ files, folders }: KataFiles): string {
  const rows = [
    ...sorted(files).map(([path, { size, mode, mtimeNs, hidden }]) => [
      (mode & 0o7777).toString(8).padStart(4, '0'),
      formatBytes(size),
      moment(mtimeNs),
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

export function filesJson({ files, folders }: KataFiles): object {
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
