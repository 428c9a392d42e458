import { MiB } from '../base/units.ts';
import { KatafleetError } from '../model/errors.ts';
import { encodePath, sandboxPath } from '../model/paths.ts';
import { formatBytes } from '../model/quantity.ts';
import { readExactly, Way } from './way.ts';

/** A file as it was when it was read. */
export interface FoundFile {
  content: Buffer;
  mtimeNs: bigint;
  /** Whether its owner may execute it. */
  executable: boolean;
}

/**
 * Reads plain files below a folder, and nowhere else, by names that others wrote. It refuses a name that is absolute or has a part
 * `..`. It follows no link, because a link could lead to any file of this machine, and reads no folder, fifo or device. The number
 * and the bytes of all that one instance reads are bounded.
 */
export class FilesBelow {
  readonly folder: string;
  readonly #most: { files: number; bytes: number };
  #files = 0;
  #bytes = 0;

  /** @param folder may be a link itself, because a person chose it @param most bounds of all reads together */
  constructor(folder: string, most: { files: number; bytes: number }) {
    this.folder = folder;
    this.#most = most;
  }

  /** Reads a file; undefined if the name leads to no plain file. @throws files.path, files.too_many, files.too_large */
  async read(path: string, mostBytes = this.#most.bytes): Promise<FoundFile | undefined> {
    sandboxPath(path);
    if (++this.#files > this.#most.files)
      throw new KatafleetError('files.too_many', `more than ${this.#most.files} files below ${this.folder} are named`);
    const slash = path.lastIndexOf('/');
    await using way = await Way.into(this.folder, slash < 0 ? '' : path.slice(0, slash), 'may be a link');
    await using handle = await way.open(encodePath(path.slice(slash + 1)));
    const found = await handle?.stat({ bigint: true });
    if (!handle || !found?.isFile()) return undefined;
    this.#bytes += Number(found.size);
    const most = Math.min(mostBytes, this.#most.bytes);
    if (found.size > most || this.#bytes > this.#most.bytes) {
      const of = found.size > most ? JSON.stringify(path) : 'all that is named';
      throw new KatafleetError('files.too_large', `${of} below ${this.folder} is larger than ${formatBytes(most)}`);
    }
    const content = await readExactly(handle, Number(found.size));
    return content && { content, mtimeNs: found.mtimeNs, executable: (found.mode & 0o100n) !== 0n };
  }

  /** Lists a folder below; undefined if the name leads to no folder. */
  async names(path: string): Promise<string[] | undefined> {
    await using way = await Way.into(this.folder, path, 'may be a link');
    return way.reached ? await way.names() : undefined;
  }
}

/** Bounds of a start-point: files and bytes in all, and bytes of its manifest. */
export const startPointLimits = { files: 10_000, bytes: 128 * MiB, manifest: MiB } as const;
