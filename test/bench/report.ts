import { readFile, writeFile } from 'node:fs/promises';
import { arch, cpus, totalmem } from 'node:os';
import { formatBytes } from '../../src/model/quantity.ts';

const file = new URL('../../docs/performance.md', import.meta.url);

/** This machine, for the foot of a table. */
export function machine(): string {
  const [cpu] = cpus();
  return `${cpus().length} × ${cpu?.model ?? 'unknown CPU'} (${arch()}), ${formatBytes(totalmem())}, Node ${process.versions.node}`;
}

export const today = (): string => new Date().toISOString().slice(0, 10);

export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [line(head), `|${head.map(() => '---').join('|')}|`, ...rows.map(line)].join('\n');
}

/** Replaces one section of a page, between its two markers, and nothing else. @throws when the page lacks them */
export function withSection(page: string, name: string, text: string): string {
  const [begin, end] = [`<!-- ${name}: begin -->\n`, `<!-- ${name}: end -->`];
  const [from, to] = [page.indexOf(begin), page.indexOf(end)];
  if (from < 0 || to < from) throw new Error(`docs/performance.md: expected the lines ${begin.trim()} and ${end}`);
  return `${page.slice(0, from + begin.length)}${text.trim()}\n${page.slice(to)}`;
}

/** Prints a section of docs/performance.md, or writes it there where the command was given `--write`. */
export async function publish(name: string, text: string): Promise<void> {
  if (process.argv.includes('--write')) await writeFile(file, withSection(await readFile(file, 'utf8'), name, text));
  else process.stdout.write(`${text.trim()}\n`);
}
