import { createHash } from 'node:crypto';
import { MiB } from '../base/units.ts';
import { ancestors, checkEntries } from '../model/entries.ts';
import { KatafleetError } from '../model/errors.ts';
import { pathBytes } from '../model/paths.ts';
import { formatBytes } from '../model/quantity.ts';
import { defaultModes, placedNs, type SandboxFile, type SandboxFolder } from '../model/request.ts';
import type { Changes, Omission, ReturnedFile } from '../model/result.ts';
import { ageOf } from './age.ts';
import { namesGitFolder } from './names.ts';
import type { FateOf } from './rules.ts';

/**
 * Bounds of an avatar's sandbox folder, what the tools left in it included: files and folders, bytes of the files, bytes of all names.
 * A byte of a name takes up to six in files.json, which is read as a whole.
 */
export const sandboxLimits = { files: 10_000, bytes: 128 * MiB, names: 4 * MiB } as const;

/** A file of an avatar's sandbox folder. */
export interface Kept {
  /** Git's name of the content. */
  oid: string;
  size: number;
  mode: number;
  mtimeNs: bigint;
  /** Made by tools and not shown to the person. */
  hidden: boolean;
  /** Undefined where it is in the repository and was not needed lately. */
  content: Uint8Array | undefined;
}

export interface KeptFolder {
  mode: number;
  mtimeNs: bigint;
  hidden: boolean;
}

/** An avatar's sandbox folder: files by path, and the folders that hold no file. Values are never changed, only replaced. */
export interface Sandbox {
  files: ReadonlyMap<string, Kept>;
  folders: ReadonlyMap<string, KeptFolder>;
}

export const emptySandbox: Sandbox = { files: new Map(), folders: new Map() };

/** What was not taken in, and why: a run's own reasons, and `git_folder` for a name that could pass for a repository's `.git`. */
export interface LeftOut {
  path: string;
  reason: Omission | 'git_folder';
}

/** Git's name of a content. */
export function blobId(content: Uint8Array): string {
  return createHash('sha1').update(`blob ${content.length}\0`).update(content).digest('hex');
}

/** A file whose bytes are at hand. */
export type WholeFile = Omit<SandboxFile, 'content'> & { content: Uint8Array };

const keep = ({ mode, mtimeNs, content }: Omit<ReturnedFile, 'change' | 'path'>, hidden: boolean, oid = blobId(content)): Kept => ({
  oid,
  size: content.length,
  mode,
  mtimeNs,
  hidden,
  content,
});

/**
 * What a person handed in takes the place of all that they were shown; what they did not hand in is deleted. Hidden files
 * stay, but where a file of theirs stands in the way. `at`, in ms, is when it was handed in:
 * their time stamps are those of {@link ageOf}, and a mode that is not given is the one that was there. @throws files.path, files.too_many, files.too_large
 */
export function submit(
  before: Sandbox,
  files: readonly WholeFile[],
  folders: readonly SandboxFolder[] = [],
  at = Date.now(),
): { sandbox: Sandbox; leftOut: LeftOut[] } {
  const leftOut: LeftOut[] = [];
  const mine = <Entry extends { path: string }>(entries: readonly Entry[]) =>
    entries.filter(({ path }) => {
      if (!namesGitFolder(path)) return true;
      leftOut.push({ path, reason: 'git_folder' });
      return false;
    });
  checkEntries(files, folders);
  const draft = new Draft(emptySandbox);
  for (const [path, kept] of before.files) if (kept.hidden) draft.put(path, kept);
  for (const [path, kept] of before.folders) if (kept.hidden) draft.putFolder(path, kept);
  const age = ageOf(before, at);
  for (const { path, mode, mtimeNs, content } of mine(files)) {
    const oid = blobId(content);
    const old = before.files.get(path);
    const stamp = age({ oid, size: content.length, mtimeNs }, old);
    draft.put(
      path,
      keep(
        {
          mode: mode ?? old?.mode ?? defaultModes.file,
          mtimeNs: stamp,
          content: Buffer.from(content.buffer, content.byteOffset, content.length),
        },
        false,
        oid,
      ),
    );
  }
  for (const { path, mode, mtimeNs } of mine(folders)) {
    const old = before.folders.get(path);
    const stamp = mtimeNs ?? old?.mtimeNs ?? placedNs(at);
    draft.putFolder(path, { mode: mode ?? old?.mode ?? defaultModes.folder, mtimeNs: stamp, hidden: false });
  }
  const { bytes } = draft;
  const names = [...files, ...folders].reduce((sum, { path }) => sum + pathBytes(path), 0);
  if (names > sandboxLimits.names)
    throw new KatafleetError('files.too_large', `${formatBytes(names)} of names; a kata holds at most ${formatBytes(sandboxLimits.names)}`);
  if (draft.files.size > sandboxLimits.files)
    throw new KatafleetError('files.too_many', `${draft.files.size} files; a kata holds at most ${sandboxLimits.files}`);
  if (bytes > sandboxLimits.bytes)
    throw new KatafleetError('files.too_large', `${formatBytes(bytes)} of files; a kata holds at most ${formatBytes(sandboxLimits.bytes)}`);
  return { sandbox: draft.done(), leftOut };
}

/** What the person sees of a run's changes; more can be left out than the run itself left out. */
export type Shown = Omit<Changes, 'omitted'> & { omitted: LeftOut[] };

/** What a run did to a sandbox, by the rules. */
export interface Applied {
  sandbox: Sandbox;
  shown: Shown;
  /** Kept for the next test, not shown. */
  hidden: string[];
  /** Dropped by a rule. */
  ignored: string[];
}

/** Takes in what came back from a run. What the person was shown stays shown, whatever a rule says of its name. */
export function apply(before: Sandbox, changes: Changes, fate: FateOf): Applied {
  const draft = new Draft(before);
  const shown: Shown = { files: [], folders: [], deleted: [], omitted: [...changes.omitted], omittedCount: changes.omittedCount };
  const [hidden, ignored]: [string[], string[]] = [[], []];
  const wasShown = (path: string) => (before.files.get(path) ?? before.folders.get(path))?.hidden === false;
  const gone = new Set<string>();
  /** Whether a path is for us to keep, and how; said where it is not. */
  const verdict = (path: string, size: number): 'show' | 'hide' | undefined => {
    const fault = namesGitFolder(path)
      ? 'git_folder'
      : draft.count >= sandboxLimits.files
        ? 'too_many'
        : draft.bytes + size > sandboxLimits.bytes || draft.names + pathBytes(path) > sandboxLimits.names
          ? 'too_much'
          : undefined;
    const wanted = fate(path);
    if (fault !== undefined) {
      shown.omitted.push({ path, reason: fault });
      shown.omittedCount += 1;
    } else if (wanted === 'ignore') ignored.push(path);
    else return wasShown(path) ? 'show' : wanted;
    return undefined;
  };
  for (const path of changes.deleted) {
    if (fate(path) === 'ignore') ignored.push(path);
    else if (draft.delete(path)) gone.add(path);
  }
  for (const file of changes.files) {
    const how = verdict(file.path, file.content.length);
    if (!how) continue;
    for (const path of draft.put(file.path, keep(file, how === 'hide'))) gone.add(path);
    if (how === 'hide') hidden.push(file.path);
    else shown.files.push(file);
  }
  for (const folder of changes.folders) {
    const how = verdict(folder.path, 0);
    if (!how) continue;
    for (const path of draft.putFolder(folder.path, { mode: folder.mode, mtimeNs: folder.mtimeNs, hidden: how === 'hide' })) gone.add(path);
    if (how === 'show') shown.folders.push(folder);
  }
  shown.deleted.push(...[...gone].filter(wasShown));
  return { sandbox: draft.done(), shown, hidden, ignored };
}

/** A sandbox folder in the making: what comes later wins over what stands in its way, as on a disk. */
class Draft {
  readonly files: Map<string, Kept>;
  readonly folders: Map<string, KeptFolder>;
  bytes = 0;
  /** Bytes of the paths of all entries. */
  names = 0;
  /** How many entries there are below a folder. */
  readonly #below = new Map<string, number>();

  constructor({ files, folders }: Sandbox) {
    this.files = new Map(files);
    this.folders = new Map(folders);
    for (const [path, { size }] of files) {
      this.bytes += size;
      this.#count(path, 1);
    }
    for (const path of folders.keys()) this.#count(path, 1);
  }

  get count(): number {
    return this.files.size + this.folders.size;
  }

  /** Tells what had to go. */
  put(path: string, kept: Kept): string[] {
    const displaced = this.#clear(path);
    this.delete(path);
    this.files.set(path, kept);
    this.bytes += kept.size;
    this.#count(path, 1);
    return displaced;
  }

  putFolder(path: string, kept: KeptFolder): string[] {
    const displaced = ancestors(path).filter((parent) => this.files.has(parent) && this.delete(parent));
    if (this.files.has(path)) displaced.push(path);
    this.delete(path);
    this.folders.set(path, kept);
    this.#count(path, 1);
    return displaced;
  }

  /** Whether it was there. */
  delete(path: string): boolean {
    const file = this.files.get(path);
    if (!file && !this.folders.has(path)) return false;
    this.bytes -= file?.size ?? 0;
    this.files.delete(path);
    this.folders.delete(path);
    this.#count(path, -1);
    return true;
  }

  /** Folders that hold something need no entry: git's tree has them. */
  done(): Sandbox {
    for (const path of this.folders.keys()) if ((this.#below.get(path) ?? 0) > 0) this.delete(path);
    return { files: this.files, folders: this.folders };
  }

  /** Removes the files that stand where a folder must be, and what is below a path that becomes a file. */
  #clear(path: string): string[] {
    const displaced = ancestors(path).filter((parent) => this.files.has(parent) && this.delete(parent));
    if ((this.#below.get(path) ?? 0) > 0) {
      for (const other of [...this.files.keys(), ...this.folders.keys()])
        if (other.startsWith(`${path}/`) && this.delete(other)) displaced.push(other);
    }
    return displaced;
  }

  #count(path: string, by: 1 | -1): void {
    this.names += by * pathBytes(path);
    for (const parent of ancestors(path)) this.#below.set(parent, (this.#below.get(parent) ?? 0) + by);
  }
}
