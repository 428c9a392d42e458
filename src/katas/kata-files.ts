import { createHash } from 'node:crypto';
import { MiB } from '../base/units.ts';
import type { SandboxFile } from '../model/request.ts';

/**
 * Bounds of an avatar's sandbox folder, including the files of tools: number of files and folders, bytes of files, bytes of all names.
 * A byte of a name takes up to six in files.json, which is read as a whole.
 */
export const kataLimits = { files: 10_000, bytes: 128 * MiB, names: 4 * MiB } as const;

/** A file of an avatar's sandbox folder. */
export interface KataFile {
  /** Git's object id of the content. */
  oid: string;
  size: number;
  mode: number;
  mtimeNs: bigint;
  /** Made by tools and not shown to the person. */
  hidden: boolean;
  /** Undefined if the content is in the repository and was not needed lately. */
  content: Uint8Array | undefined;
}

export interface KataFolder {
  mode: number;
  mtimeNs: bigint;
  hidden: boolean;
}

/** An avatar's sandbox folder: files by path, and the folders without files. Values are never changed, only replaced. */
export interface KataFiles {
  files: ReadonlyMap<string, KataFile>;
  folders: ReadonlyMap<string, KataFolder>;
}

export const noFiles: KataFiles = { files: new Map(), folders: new Map() };

/** Returns git's object id of a content. */
export function blobId(content: Uint8Array): string {
  return createHash('sha1').update(`blob ${content.length}\0`).update(content).digest('hex');
}

/** A file with its content in memory. */
export type WholeFile = Omit<SandboxFile, 'content'> & { content: Uint8Array };
