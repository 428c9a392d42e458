import { constants, type Stats } from 'node:fs';
import { type FileHandle, open, readdir } from 'node:fs/promises';
import { decodePath, encodePath, pathFault } from '../model/paths.ts';

const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK } = constants;

/** A folder that is opened part by part, each from the one before (openat by way of /proc), so that no link can be swapped in. */
export class Way {
  #handle: FileHandle | undefined;

  /** Opens `below` from `folder`. `root`: whether the folder itself may be a link, because a person chose it. No part below may be one. */
  static async into(folder: string, below: string, root: 'no link' | 'may be a link' = 'no link'): Promise<Way> {
    const way = new Way();
    const path = encodePath(below);
    if (below !== '' && pathFault(path) !== undefined) return way;
    way.#handle = await open(folder, O_RDONLY | O_DIRECTORY | (root === 'no link' ? O_NOFOLLOW : 0));
    for (const part of below === '' ? [] : below.split('/')) {
      let next: FileHandle | undefined;
      try {
        next = await way.open(encodePath(part), O_DIRECTORY);
      } finally {
        await way.#handle?.close();
        way.#handle = next;
      }
      if (next === undefined) break;
    }
    return way;
  }

  get reached(): boolean {
    return this.#handle !== undefined;
  }

  /**
   * A path by which another process of this machine reaches this very folder while the way is open, even if its name leads elsewhere
   * by then.
   */
  get address(): string | undefined {
    return this.#handle && `/proc/${process.pid}/fd/${this.#handle.fd}`;
  }

  /** Stats of the folder; undefined if it was not reached. */
  async stat(): Promise<Stats | undefined> {
    return this.#handle?.stat();
  }

  /** Opens a file or folder by its name in this folder; undefined if it is missing or a link. Does not wait for a fifo's other end. */
  async open(name: Buffer, flags = 0): Promise<FileHandle | undefined> {
    if (this.#handle === undefined || pathFault(name) !== undefined || name.includes(0x2f)) return undefined;
    const path = Buffer.concat([Buffer.from(`/proc/self/fd/${this.#handle.fd}/`), name]);
    try {
      return await open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | flags);
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code ?? '';
      if (['ENOENT', 'ELOOP', 'ENOTDIR', 'ENXIO'].includes(code)) return undefined;
      throw error;
    }
  }

  /** Names in the folder, in the order of their bytes; none if it was not reached. */
  async names(): Promise<string[]> {
    if (this.#handle === undefined) return [];
    const names = await readdir(Buffer.from(`/proc/self/fd/${this.#handle.fd}`), { encoding: 'buffer' });
    return names.sort((a, b) => a.compare(b)).map((name) => decodePath(name));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#handle?.close();
  }
}

/** Reads the first `size` bytes of a file; undefined if it has become shorter. */
export async function readExactly(handle: FileHandle, size: number): Promise<Buffer | undefined> {
  const content = Buffer.allocUnsafe(size);
  for (let at = 0; at < size;) {
    const { bytesRead } = await handle.read(content, at, size - at, at);
    if (bytesRead === 0) return undefined;
    at += bytesRead;
  }
  return content;
}
