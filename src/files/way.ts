import { constants, type Stats } from 'node:fs';
import { type FileHandle, open, readdir } from 'node:fs/promises';
import { decodePath, encodePath, pathFault } from '../model/paths.ts';

const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK } = constants;

/** A folder opened part by part, each from the one before (openat by way of /proc), so that nothing can be put in between. */
export class Way {
  #handle: FileHandle | undefined;

  /** The folder itself may be a link only where its name is a person's own (`root`). No part below it may. */
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

  /** The folder as another process of this machine reaches it while this way is open: the folder itself, whatever has its name by then. */
  get address(): string | undefined {
    return this.#handle && `/proc/${process.pid}/fd/${this.#handle.fd}`;
  }

  /** Of the folder itself; undefined where it was not reached. */
  async stat(): Promise<Stats | undefined> {
    return this.#handle?.stat();
  }

  /** What has this name in the folder; undefined where it is not there, or is a link. Opened without waiting: a fifo's other end may be nobody's. */
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

  /** Names of all that lies in the folder, in order; none where it was not reached. */
  async names(): Promise<string[]> {
    if (this.#handle === undefined) return [];
    const names = await readdir(Buffer.from(`/proc/self/fd/${this.#handle.fd}`), { encoding: 'buffer' });
    return names.sort((a, b) => a.compare(b)).map((name) => decodePath(name));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#handle?.close();
  }
}

/** The first `size` bytes of a file; undefined where it has fewer by now. */
export async function readExactly(handle: FileHandle, size: number): Promise<Buffer | undefined> {
  const content = Buffer.allocUnsafe(size);
  for (let at = 0; at < size;) {
    const { bytesRead } = await handle.read(content, at, size - at, at);
    if (bytesRead === 0) return undefined;
    at += bytesRead;
  }
  return content;
}
