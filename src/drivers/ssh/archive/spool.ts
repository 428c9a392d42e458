import { createHash, type Hash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdtemp, open, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, posix } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import tar from 'tar-stream';
import { MiB } from '../../../base/units.ts';
import { KatafleetError, messageOf } from '../../../model/errors.ts';

/** What an archive may hold at most. */
export interface ArchiveBounds {
  /** Bytes of all its files; compressed files count with their unpacked size. */
  bytes: number;
  /** Files, folders and links. */
  entries: number;
}

/** A file of an archive, on disk under a number: no name of the archive becomes a name on this machine. */
export interface SpooledFile {
  path: string;
  /** Bytes on disk, after gzip was unpacked. */
  size: number;
  sha256: string;
  /** SHA-256 of the bytes in the archive: differs from {@link sha256} if they were gzip. */
  packedSha256: string;
}

const mostJson = 8 * MiB;
const mostName = 1_024;
const mostHops = 8;

export const notAnArchive = (why: string, cause?: unknown): KatafleetError =>
  new KatafleetError(
    'archive.invalid',
    `this is not an archive of docker save, or it is cut off: ${why}`,
    cause === undefined ? {} : { cause },
  );

/** An archive of docker save, unpacked into a temporary folder, because its parts refer to each other and come in any order. */
export class ArchiveSpool {
  readonly #folder: string;
  readonly #files = new Map<string, SpooledFile>();
  readonly #links = new Map<string, string>();

  private constructor(folder: string) {
    this.#folder = folder;
  }

  /** Reads an archive to its end. @throws archive.invalid, archive.too_large, spool.no_space, the stream's own error */
  static async of(archive: Readable, bounds: ArchiveBounds, signal?: AbortSignal): Promise<ArchiveSpool> {
    const spool = new ArchiveSpool(await mkdtemp(join(tmpdir(), 'katafleet-archive-')));
    try {
      await spool.#read(archive, bounds, signal);
      return spool;
    } catch (error) {
      archive.destroy();
      await spool[Symbol.asyncDispose]();
      throw error;
    }
  }

  async #read(archive: Readable, bounds: ArchiveBounds, signal: AbortSignal | undefined): Promise<void> {
    const extract = tar.extract();
    let source: unknown;
    archive.once('error', (error) => (source = error));
    const arriving = pipeline(archive, extract, { ...(signal ? { signal } : {}) });
    arriving.catch(() => undefined); // thrown below, after the reading has stopped
    let left = bounds.bytes;
    const tooLarge = () => new KatafleetError('archive.too_large', `the archive has more than ${bounds.bytes} bytes`);
    const take = (bytes: number) => {
      left -= bytes;
      if (left < 0) throw tooLarge();
    };
    let count = 0;
    try {
      for await (const entry of extract) {
        count += 1;
        if (count > bounds.entries) throw new KatafleetError('archive.too_large', `the archive has more than ${bounds.entries} entries`);
        const { name: raw, type, linkname, size } = entry.header;
        if (size !== undefined && size > left) throw tooLarge();
        const name = posix.normalize(raw).replace(/^\.?\//, '');
        if (name.length > mostName || name === '..' || name.startsWith('../')) throw notAnArchive(`it names a file ${raw.slice(0, 100)}`);
        if (type === 'file' || type === 'contiguous-file') {
          if (this.#files.has(name) || this.#links.has(name)) throw notAnArchive(`it holds ${name} twice`);
          this.#files.set(name, await this.#keep(entry as AsyncIterable<Buffer>, count, take));
          continue;
        }
        if (type === 'symlink') this.#links.set(name, posix.normalize(posix.join(posix.dirname(name), linkname ?? '')));
        else if (type === 'link') this.#links.set(name, posix.normalize(linkname ?? ''));
        else if (type !== 'directory') throw notAnArchive(`it holds a ${type ?? 'thing of no kind'} ${name}`);
        entry.resume();
      }
      await arriving;
    } catch (error) {
      extract.destroy();
      throw await firstError(error, source, arriving, signal);
    }
  }

  async #keep(entry: AsyncIterable<Buffer>, number: number, take: (bytes: number) => void): Promise<SpooledFile> {
    const path = join(this.#folder, String(number));
    const packed = createHash('sha256');
    const unpacked = createHash('sha256');
    let size = 0;
    const count = (bytes: number) => {
      size += bytes;
      take(bytes);
    };
    const chunks = entry[Symbol.asyncIterator]();
    let head = Buffer.alloc(0);
    for (let more = true; more && head.length < 2;) {
      const chunk = await chunks.next();
      if (chunk.done === true) more = false;
      else head = Buffer.concat([head, chunk.value]);
    }
    const gzip = head[0] === 0x1f && head[1] === 0x8b;
    const rest = hashed(head, chunks, packed);
    const target = createWriteStream(path, { flags: 'wx', mode: 0o600 });
    if (gzip) await pipeline(rest, createGunzip(), (bytes) => measured(bytes, count, unpacked), target);
    else await pipeline(measured(rest, count), target);
    const packedSha256 = packed.digest('hex');
    return { path, size, packedSha256, sha256: gzip ? unpacked.digest('hex') : packedSha256 };
  }

  /** Finds a file by its name in the archive; follows links within it. */
  find(name: string): SpooledFile | undefined {
    let at = posix.normalize(name);
    for (let hop = 0; hop < mostHops; hop++) {
      const target = this.#links.get(at);
      if (target === undefined) return this.#files.get(at);
      at = target;
    }
    return undefined;
  }

  /** @throws archive.invalid */
  need(name: string): SpooledFile {
    const file = this.find(name);
    if (!file) throw notAnArchive(`${name.slice(0, 200)} is missing`);
    return file;
  }

  /** @throws archive.invalid */
  async json(name: string): Promise<unknown> {
    const file = this.need(name);
    if (file.size > mostJson) throw notAnArchive(`${name} is larger than ${mostJson} bytes`);
    try {
      return JSON.parse(await readFile(file.path, 'utf8'));
    } catch (cause) {
      throw notAnArchive(`${name} is not JSON (${messageOf(cause)})`, cause);
    }
  }

  /** Whether a file begins with these bytes. */
  async begins(file: SpooledFile, bytes: Buffer): Promise<boolean> {
    await using handle = await open(file.path);
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(bytes.length), 0, bytes.length, 0);
    return bytesRead === bytes.length && buffer.equals(bytes);
  }

  /** All names in the archive, links included, folders not. */
  names(): string[] {
    return [...this.#files.keys(), ...this.#links.keys()];
  }

  /** Adds a file with these bytes. */
  async add(bytes: Buffer): Promise<SpooledFile> {
    const path = join(this.#folder, `added-${this.#files.size}`);
    await using handle = await open(path, 'wx', 0o600);
    await handle.writeFile(bytes);
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    return { path, size: bytes.length, sha256, packedSha256: sha256 };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.#folder, { recursive: true, force: true });
  }
}

async function* hashed(head: Buffer, rest: AsyncIterator<Buffer>, hash: Hash): AsyncGenerator<Buffer> {
  hash.update(head);
  yield head;
  for (let chunk = await rest.next(); chunk.done !== true; chunk = await rest.next()) {
    hash.update(chunk.value);
    yield chunk.value;
  }
}

async function* measured(source: AsyncIterable<Buffer>, count: (bytes: number) => void, hash?: Hash): AsyncGenerator<Buffer> {
  for await (const chunk of source) {
    count(chunk.length);
    hash?.update(chunk);
    yield chunk;
  }
}

/** The first error of a broken pipeline: the source's, katafleet's own, or a fault in the archive. */
async function firstError(error: unknown, source: unknown, arriving: Promise<void>, signal: AbortSignal | undefined): Promise<unknown> {
  await arriving.catch(() => undefined);
  if (signal?.aborted) return signal.reason;
  if (source !== undefined && !(source instanceof Error && source.message === 'Premature close')) return source;
  if (error instanceof KatafleetError) return error;
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  if (code === 'ENOSPC' || code === 'EDQUOT')
    return new KatafleetError('spool.no_space', `no space is left in ${tmpdir()} to unpack the archive`, {
      cause: error,
      hint: 'free some space, or name another folder in TMPDIR; it needs as much space as the image',
    });
  return notAnArchive(messageOf(error), error);
}
