import { createReadStream } from 'node:fs';
import { lstat, opendir, readFile, stat } from 'node:fs/promises';
import { GiB, KiB, MiB } from '../../base/units.ts';
import { KatafleetError, messageOf } from '../../model/errors.ts';
import { decodePath } from '../../model/paths.ts';
import { formatBytes } from '../../model/quantity.ts';
import type { SandboxFile, SandboxFolder } from '../../model/request.ts';
import { namesGitFolder } from '../../katas/names.ts';

/** Bounds of the files that are sent. */
export const uploadLimits = { files: 100_000, bytes: GiB } as const;
/** Files up to this size (bytes) are read at once; larger ones are read while they are sent. */
const atOnce = MiB;

export interface FolderContent {
  files: SandboxFile[];
  folders: SandboxFolder[];
  /** Paths that are neither file nor folder and are not sent. */
  skipped: string[];
  /** Paths of git repositories, which are not sent. */
  repositories: string[];
}

/**
 * Reads a folder of the user's for a run. Links and special files are left out. Entries with the name `.git` are left out unless `git`
 * is set: a repository holds more than a user means to send.
 * @throws folder.*, file.unreadable, files.*
 */
export async function readFolder(folder: string, { git = false }: { git?: boolean | undefined } = {}): Promise<FolderContent> {
  const content: FolderContent = { files: [], folders: [], skipped: [], repositories: [] };
  const root = await stat(folder).catch((cause: unknown) => {
    throw new KatafleetError('folder.missing', `no folder ${folder}: ${messageOf(cause)}`, { cause });
  });
  if (!root.isDirectory()) throw new KatafleetError('folder.missing', `${folder} is not a folder`);
  await walk(Buffer.from(folder), Buffer.alloc(0), content, { bytes: 0, git });
  if (content.files.length === 0) {
    throw new KatafleetError('folder.empty', `the folder ${folder} has no files`, { hint: 'name the folder that holds the kata' });
  }
  return content;
}

async function walk(root: Buffer, below: Buffer, content: FolderContent, total: { bytes: number; git: boolean }): Promise<void> {
  const at = below.length === 0 ? root : Buffer.concat([root, Buffer.from('/'), below]);
  const entries: Buffer[] = [];
  try {
    for await (const entry of await opendir(at, { encoding: 'buffer' as BufferEncoding })) entries.push(entry.name as unknown as Buffer);
  } catch (cause) {
    if (below.length > 0 && vanished(cause)) return;
    throw unreadable(decodePath(at), cause);
  }
  for (const name of entries.sort((a, b) => a.compare(b))) {
    const relative = below.length === 0 ? name : Buffer.concat([below, Buffer.from('/'), name]);
    const file = Buffer.concat([root, Buffer.from('/'), relative]);
    const path = decodePath(relative);
    if (!total.git && namesGitFolder(path)) {
      content.repositories.push(path);
      continue;
    }
    const found = await lstat(file, { bigint: true }).catch((cause: unknown) => {
      if (vanished(cause)) return undefined;
      throw unreadable(path, cause);
    });
    if (!found) continue;
    const entry = { path, mode: Number(found.mode & 0o7777n), mtimeNs: found.mtimeNs };
    if (found.isDirectory()) {
      const before = content.files.length + content.folders.length;
      await walk(root, relative, content, total);
      if (content.files.length + content.folders.length === before) content.folders.push(entry);
    } else if (found.isFile()) {
      const size = Number(found.size);
      total.bytes += size;
      if (total.bytes > uploadLimits.bytes)
        throw new KatafleetError('files.too_large', `the folder is larger than ${formatBytes(uploadLimits.bytes)}`);
      if (content.files.length >= uploadLimits.files)
        throw new KatafleetError('files.too_many', `the folder has more than ${uploadLimits.files} files`);
      const open = () => createReadStream(file, { highWaterMark: 64 * KiB });
      const bytes = size > atOnce ? { size, open } : await read(file, path);
      if (bytes) content.files.push({ ...entry, content: bytes });
    } else {
      content.skipped.push(path);
    }
  }
}

/** Reads a file; undefined if it is gone. @throws file.unreadable */
function read(file: Buffer, path: string): Promise<Buffer | undefined> {
  return readFile(file).catch((cause: unknown) => {
    if (vanished(cause)) return undefined;
    throw unreadable(path, cause);
  });
}

/**
 * Whether a file is gone. Editors and build tools create and remove files at any time, so a file that is gone before it was read is
 * skipped.
 */
const vanished = (error: unknown): boolean => ['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '');

function unreadable(path: string, cause: unknown): KatafleetError {
  return new KatafleetError('file.unreadable', `${path} can't be read: ${messageOf(cause)}`, { cause });
}
