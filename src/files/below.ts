import { MiB } from '../base/units.ts';
import { KatafleetError } from '../model/errors.ts';
import { encodePath, sandboxPath } from '../model/paths.ts';
import { formatBytes } from '../model/quantity.ts';
import { readExactly, Way } from './way.ts';

/** A file as it was when it was read. */
export interface FoundFile {
  content: Buffer;
  mtimeNs: bigint;
  /** Its owner may execute it. */
  executable: boolean;
}

/**
 * Reads plain files by names that others wrote, from below a folder and from nowhere else: a name that is absolute or has a
 * part `..` is refused, no part of the way may be a link, and what is no plain file (a folder, a fifo, a device) is not read.
 * Links could lead to any file of this machine. What all that it reads may hold together is bounded.
 */
export class FilesBelow {
  readonly folder: string;
  readonly #most: { files: number; bytes: number };
  #files = 0;
  #bytes = 0;

  /** @param folder a person's own choice: it may be a link itself @param most files and bytes of all that is read */
  constructor(folder: string, most: { files: number; bytes: number }) {
    this.folder = folder;
    this.#most = most;
  }

  /** Undefined where no plain file is reached by that name. @throws files.path, files.too_many, files.too_large */
  async read(path: string, mostBytes = this.#most.bytes): Promise<FoundFile | undefined> {
    sandboxPath(path);
    if (++this.#files > this.#most.files)
      throw new KatafleetError('files.too_many', `more than ${this.#most.files} files are named of ${this.folder}`);
    const slash = path.lastIndexOf('/');
    await using way = await Way.into(this.folder, slash < 0 ? '' : path.slice(0, slash), 'may be a link');
    await using handle = await way.open(encodePath(path.slice(slash + 1)));
    const found = await handle?.stat({ bigint: true });
    if (!handle || !found?.isFile()) return undefined;
    this.#bytes += Number(found.size);
    const most = Math.min(mostBytes, this.#most.bytes);
    if (found.size > most || this.#bytes > this.#most.bytes) {
      const of = found.size > most ? JSON.stringify(path) : 'what is named';
      throw new KatafleetError('files.too_large', `${of} of ${this.folder} is larger than ${formatBytes(most)}`);
    }
    const content = await readExactly(handle, Number(found.size));
    return content && { content, mtimeNs: found.mtimeNs, executable: (found.mode & 0o100n) !== 0n };
  }

  /** Names of what lies in a folder below; undefined where no folder is reached by that name. */
  async names(path: string): Promise<string[] | undefined> {
    await using way = await Way.into(this.folder, path, 'may be a link');
    return way.reached ? await way.names() : undefined;
  }
}

/** Bounds of a start-point, and of each file that says how it is to be read, bytes. */
export const startPointLimits = { files: 10_000, bytes: 128 * MiB, manifest: MiB } as const;
