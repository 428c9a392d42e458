import { checkEntries } from '../model/entries.ts';
import { KatafleetError } from '../model/errors.ts';
import { pathBytes } from '../model/paths.ts';
import { formatBytes } from '../model/quantity.ts';
import { defaultModes, placedNs, type SandboxFolder } from '../model/request.ts';
import type { Changes, Omission, ReturnedFile } from '../model/result.ts';
import { ageOf } from './age.ts';
import { Draft } from './draft.ts';
import { blobId, type KataFile, type KataFiles, kataLimits, noFiles, type WholeFile } from './kata-files.ts';
import { namesGitFolder } from './names.ts';
import type { FateOf } from './rules.ts';

/** An entry that was not taken in, and the reason: one of a run's, or `git_folder` for a name that could pass for a repository's `.git`. */
export interface LeftOut {
  path: string;
  reason: Omission | 'git_folder';
}

const keep = ({ mode, mtimeNs, content }: Omit<ReturnedFile, 'change' | 'path'>, hidden: boolean, oid = blobId(content)): KataFile => ({
  oid,
  size: content.length,
  mode,
  mtimeNs,
  hidden,
  content,
});

/**
 * Replaces all visible files by the submitted ones; a visible file that was not submitted is deleted. Hidden files stay, unless a
 * submitted file stands in their way. `at` is the time of the submission (ms); {@link ageOf} sets the time stamps, and a file without a
 * mode keeps its old mode.
 * @throws files.path, files.too_many, files.too_large
 */
export function submit(
  before: KataFiles,
  files: readonly WholeFile[],
  folders: readonly SandboxFolder[] = [],
  at = Date.now(),
): { sandbox: KataFiles; leftOut: LeftOut[] } {
  const leftOut: LeftOut[] = [];
  const mine = <Entry extends { path: string }>(entries: readonly Entry[]) =>
    entries.filter(({ path }) => {
      if (!namesGitFolder(path)) return true;
      leftOut.push({ path, reason: 'git_folder' });
      return false;
    });
  checkEntries(files, folders);
  const draft = new Draft(noFiles);
  for (const [path, file] of before.files) if (file.hidden) draft.put(path, file);
  for (const [path, folder] of before.folders) if (folder.hidden) draft.putFolder(path, folder);
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
  if (names > kataLimits.names)
    throw new KatafleetError('files.too_large', `${formatBytes(names)} of names; a kata may have at most ${formatBytes(kataLimits.names)}`);
  if (draft.files.size > kataLimits.files)
    throw new KatafleetError('files.too_many', `${draft.files.size} files; a kata may have at most ${kataLimits.files}`);
  if (bytes > kataLimits.bytes)
    throw new KatafleetError('files.too_large', `${formatBytes(bytes)} of files; a kata may have at most ${formatBytes(kataLimits.bytes)}`);
  return { sandbox: draft.done(), leftOut };
}

/** The changes of a run that the person sees. More may be omitted than the run itself omitted. */
export type Shown = Omit<Changes, 'omitted'> & { omitted: LeftOut[] };

/** The effect of a run on a sandbox folder, by the rules. */
export interface Applied {
  sandbox: KataFiles;
  shown: Shown;
  /** Kept for the next test, not shown. */
  hidden: string[];
  /** Dropped by a rule. */
  ignored: string[];
}

/** Applies the changes of a run. A file that was visible stays visible, whatever the rules say about its name. */
export function apply(before: KataFiles, changes: Changes, fate: FateOf): Applied {
  const draft = new Draft(before);
  const shown: Shown = { files: [], folders: [], deleted: [], omitted: [...changes.omitted], omittedCount: changes.omittedCount };
  const [hidden, ignored]: [string[], string[]] = [[], []];
  const wasShown = (path: string) => (before.files.get(path) ?? before.folders.get(path))?.hidden === false;
  const gone = new Set<string>();
  /** Whether a path is kept, and how; adds it to `omitted` or `ignored` if it is not. */
  const verdict = (path: string, size: number): 'show' | 'hide' | undefined => {
    const fault = namesGitFolder(path)
      ? 'git_folder'
      : draft.count >= kataLimits.files
        ? 'too_many'
        : draft.bytes + size > kataLimits.bytes || draft.names + pathBytes(path) > kataLimits.names
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
