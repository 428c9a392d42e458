import { ancestors } from '../model/entries.ts';
import { pathBytes } from '../model/paths.ts';
import type { KataFile, KataFiles, KataFolder } from './kata-files.ts';

/** A sandbox folder that is being built. As on a disk, a later entry replaces what stands in its way. */
export class Draft {
  readonly files: Map<string, KataFile>;
  readonly folders: Map<string, KataFolder>;
  bytes = 0;
  /** Bytes of the paths of all entries. */
  names = 0;
  /** Number of entries below each folder. */
  readonly #below = new Map<string, number>();

  constructor({ files, folders }: KataFiles) {
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

  /** Adds a file. Returns the paths that it replaced. */
  put(path: string, file: KataFile): string[] {
    const displaced = this.#clear(path);
    this.delete(path);
    this.files.set(path, file);
    this.bytes += file.size;
    this.#count(path, 1);
    return displaced;
  }

  putFolder(path: string, folder: KataFolder): string[] {
    const displaced = ancestors(path).filter((parent) => this.files.has(parent) && this.delete(parent));
    if (this.files.has(path)) displaced.push(path);
    this.delete(path);
    this.folders.set(path, folder);
    this.#count(path, 1);
    return displaced;
  }

  /** Deletes a path. Returns whether it was there. */
  delete(path: string): boolean {
    const file = this.files.get(path);
    if (!file && !this.folders.has(path)) return false;
    this.bytes -= file?.size ?? 0;
    this.files.delete(path);
    this.folders.delete(path);
    this.#count(path, -1);
    return true;
  }

  /** Returns the folder's files and its empty folders: other folders follow from the paths of files, as in git's tree. */
  done(): KataFiles {
    for (const path of this.folders.keys()) if ((this.#below.get(path) ?? 0) > 0) this.delete(path);
    return { files: this.files, folders: this.folders };
  }

  /** Removes files that stand where a folder must be, and everything below a path that becomes a file. */
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
