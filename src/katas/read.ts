import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { MiB } from '../base/units.ts';
import { KatafleetError } from '../model/errors.ts';
import type { Light } from '../model/lights.ts';
import { Light as LightSchema } from '../model/lights.ts';
import { decodePath, pathFault } from '../model/paths.ts';
import { inTree, trailer } from './commits.ts';
import { branch } from './fast-import.ts';
import { type Git, GitFailed } from './git.ts';
import { type KataRecord, readKataRecord, readStamps } from './record.ts';
import type { KataFile, KataFolder, KataFiles } from './kata-files.ts';

/** Returns the commit of `main`; undefined if there is none. katafleet made the repository, so the branch is a file and never packed. */
export function readTip(repository: string): string | undefined {
  try {
    return /^[0-9a-f]{40}$/.exec(readFileSync(join(repository, branch), 'ascii').trim())?.[0];
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Returns objects by name (`COMMIT:path`, or an id), in order; undefined for missing ones. */
export async function readObjects(
  git: Git,
  repository: string,
  names: readonly string[],
  mostOutput?: number,
): Promise<(Buffer | undefined)[]> {
  if (names.length === 0) return [];
  const output = await git.run(repository, ['cat-file', '--batch'], {
    input: [Buffer.from(`${names.join('\n')}\n`)],
    ...(mostOutput === undefined ? {} : { mostOutput }),
  });
  const found: (Buffer | undefined)[] = [];
  for (let at = 0; at < output.length;) {
    const end = output.indexOf(0x0a, at);
    const size = / (\d+)$/.exec(output.subarray(at, end).toString('ascii'))?.[1];
    at = end + 1;
    if (size === undefined) found.push(undefined);
    else {
      found.push(output.subarray(at, at + Number(size)));
      at += Number(size) + 1;
    }
  }
  if (found.length !== names.length) throw new GitFailed('cat-file', 0, `${found.length} answers to ${names.length} questions`);
  return found;
}

/** As {@link readObjects}; an object that is too large is undefined too: older releases could write such objects. */
async function readDocuments(git: Git, repository: string, names: readonly string[]): Promise<(Buffer | undefined)[]> {
  try {
    return await readObjects(git, repository, names);
  } catch (error) {
    if (!(error instanceof GitFailed && error.tooMuch)) throw error;
    if (names.length === 1) return [undefined];
    return (await Promise.all(names.map((name) => readDocuments(git, repository, [name])))).flat();
  }
}

interface TreeEntry {
  path: string;
  mode: string;
  oid: string;
  size: number;
}

/** Returns the plain files of a commit's sandbox folder. An untrusted repository may have links, which are skipped. */
async function readTree(git: Git, repository: string, commit: string): Promise<TreeEntry[]> {
  const output = await git.run(repository, ['ls-tree', '-r', '-z', '-l', '--full-tree', commit, `${inTree.sandbox}/`]);
  const entries: TreeEntry[] = [];
  for (let at = 0; at < output.length;) {
    const end = output.indexOf(0, at);
    const tab = output.indexOf(0x09, at);
    const [mode = '', , oid = '', size = ''] = output.subarray(at, tab).toString('ascii').split(/ +/);
    const name = output.subarray(tab + 1 + inTree.sandbox.length + 1, end);
    if (/^100(644|755)$/.test(mode) && pathFault(name) === undefined)
      entries.push({ path: decodePath(name), mode, oid, size: Number(size) });
    at = end + 1;
  }
  return entries;
}

export interface Snapshot {
  kata: KataRecord;
  sandbox: KataFiles;
}

/** Returns an avatar's sandbox folder at a commit, without contents. @throws kata.invalid */
export async function readSnapshot(git: Git, repository: string, commit: string): Promise<Snapshot> {
  const [entries, [kata, stamps]] = await Promise.all([
    readTree(git, repository, commit),
    readDocuments(git, repository, [`${commit}:${inTree.kata}`, `${commit}:${inTree.files}`]),
  ]);
  if (!kata) throw new KatafleetError('kata.invalid', `${repository} is not a kata's repository: it has no ${inTree.kata}`);
  const stamped = readStamps(stamps);
  const record = readKataRecord(kata, `${repository}: ${inTree.kata}`);
  const createdNs = BigInt(Date.parse(record.created)) * 1_000_000n;
  const files = new Map<string, KataFile>();
  for (const { path, mode, oid, size } of entries) {
    const stamp = stamped.files.get(path);
    files.set(path, {
      oid,
      size,
      mode: stamp?.mode ?? (mode === '100755' ? 0o755 : 0o644),
      mtimeNs: stamp?.mtimeNs ?? createdNs,
      hidden: stamp?.hidden ?? false,
      content: undefined,
    });
  }
  const folders = new Map<string, KataFolder>();
  for (const { path, mode, mtimeNs, hidden } of stamped.folders.values())
    if (pathFault(Buffer.from(path)) === undefined && !files.has(path)) folders.set(path, { mode, mtimeNs, hidden });
  return {
    kata: record,
    sandbox: { files, folders },
  };
}

/** Returns the same sandbox folder with the contents that `wanted` selects. */
export async function withContents(
  git: Git,
  repository: string,
  sandbox: KataFiles,
  wanted: (file: KataFile) => boolean,
): Promise<KataFiles> {
  const missing = [...new Set(Array.from(sandbox.files.values()).flatMap((file) => (!file.content && wanted(file) ? [file.oid] : [])))];
  if (missing.length === 0) return sandbox;
  const contents = await readObjects(git, repository, missing, 512 * MiB);
  const byOid = new Map(missing.map((oid, index) => [oid, contents[index]]));
  const files = new Map<string, KataFile>();
  for (const [path, file] of sandbox.files) {
    const content = file.content ?? byOid.get(file.oid);
    files.set(path, { ...file, content });
    if (!content && wanted(file))
      throw new KatafleetError('kata.git', `${repository} lacks the content ${file.oid} of ${JSON.stringify(path)}`);
  }
  return { files, folders: sandbox.folders };
}

/** A commit of an avatar's history. */
export interface LogEntry {
  commit: string;
  kind: 'start' | 'saved' | 'tested' | 'other';
  /** 0 for the start-point. */
  test: number;
  /** Unix ms. */
  at: number;
  subject: string;
  light?: Light;
  outcome?: string;
  node?: string;
}

/** Returns the history, newest first. */
export async function readHistory(git: Git, repository: string, tip: string, most = 10_000): Promise<LogEntry[]> {
  const value = (key: string) => `%(trailers:key=${key},valueonly,separator=%x20)`;
  const { commit, test, light, outcome, node } = trailer;
  const format = ['%H', '%at', '%s', ...[commit, test, light, outcome, node].map(value)].join('%x00');
  const output = await git.run(repository, ['log', '-z', `--max-count=${most}`, `--format=tformat:${format}`, '--end-of-options', tip]);
  const fields = output.toString('utf8').split('\0');
  const entries: LogEntry[] = [];
  for (let at = 0; at + 8 <= fields.length; at += 8) {
    const [oid = '', seconds = '', subject = '', kind = '', number = '', shone = '', ended = '', where = ''] = fields.slice(at, at + 8);
    const lit = LightSchema.safeParse(shone);
    entries.push({
      commit: oid,
      kind: kind === 'start' || kind === 'saved' || kind === 'tested' ? kind : 'other',
      test: /^\d{1,9}$/.test(number) ? Number(number) : 0,
      at: Number(seconds) * 1000,
      subject,
      ...(lit.success ? { light: lit.data } : {}),
      ...(ended === '' ? {} : { outcome: ended }),
      ...(where === '' ? {} : { node: where }),
    });
  }
  return entries;
}
