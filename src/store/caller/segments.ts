import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { hour, KiB, MiB } from '../../base/units.ts';
import { makeFolder } from '../../files/make-folder.ts';
import type { RecordPlace } from '../commands.ts';
import { type SegmentKind, segmentName } from '../files.ts';
import type { Encoded } from '../form/record.ts';

/** A segment is closed at this size, and at this age (ms). */
export const mostSegment = 64 * MiB;
const oldestOpen = hour;
/** Bytes of one write: a larger one would keep one of libuv's few threads for long. */
const atOnce = 8 * MiB;

interface OpenSegment {
  name: string;
  handle: FileHandle;
  size: number;
  /** When it was made, ms of the steady clock. */
  since: number;
  /** Records that are being written. */
  writing: number;
  /** No record is begun in it any more. */
  full: boolean;
  /** A sync that has not begun yet: whoever comes meanwhile shares it. */
  nextSync?: Promise<void> | undefined;
  sync: Promise<void>;
}

export interface SegmentOptions {
  folder: string;
  kind: SegmentKind;
  epoch: number;
  /** A segment is closed at this size. */
  bytes: number;
  /** Whether a record is on the disk before its place is told. */
  power: boolean;
  /** Called when nothing more is written to a segment. */
  sealed: (name: string) => void;
}

/** Writes large records one after another to files. The bytes go from memory to the file, without a copy and beside the event loop. */
export class SegmentWriter {
  readonly #options: SegmentOptions;
  #current: Promise<OpenSegment> | undefined;
  #number = 0;
  #expiry: NodeJS.Timeout | undefined;

  constructor(options: SegmentOptions) {
    this.#options = options;
  }

  /** Writes a record. @throws what the file system throws; nothing refers to what was written then */
  async append({ near, far, nearBytes, farBytes }: Encoded): Promise<RecordPlace> {
    const length = nearBytes + farBytes;
    const segment = await this.#room(length);
    const place = { segment: segment.name, at: segment.size, length };
    segment.size += length;
    segment.writing += 1;
    if (segment.size >= this.#options.bytes) this.#end(segment);
    try {
      const behind = await writeAll(segment.handle, fewer(near), place.at);
      await writeAll(segment.handle, far as Uint8Array[], behind);
      if (this.#options.power) await synced(segment);
      return place;
    } catch (error) {
      this.#end(segment); // what comes next goes to another file
      throw error;
    } finally {
      segment.writing -= 1;
      // After the command that names the record: the caller sends it before this.
      setImmediate(() => void this.#closeIfDone(segment));
    }
  }

  async #room(length: number): Promise<OpenSegment> {
    for (;;) {
      const opening = (this.#current ??= this.#create());
      try {
        const segment = await opening;
        if (segment.full) continue;
        if (segment.size === 0 || segment.size + length <= this.#options.bytes) return segment;
        this.#end(segment);
      } catch (error) {
        if (this.#current === opening) this.#current = undefined;
        throw error;
      }
    }
  }

  async #create(): Promise<OpenSegment> {
    const { folder, kind, epoch, power } = this.#options;
    await makeFolder(folder, 0o700);
    const name = segmentName(kind, { now: Date.now(), epoch, by: 'm', number: this.#number });
    this.#number += 1;
    const handle = await open(join(folder, name), constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600);
    if (power) await syncFolders(folder);
    const segment = { name, handle, size: 0, since: performance.now(), writing: 0, full: false, sync: Promise.resolve() };
    this.#expiry = setTimeout(() => this.#end(segment), oldestOpen).unref();
    return segment;
  }

  #end(segment: OpenSegment): void {
    if (segment.full) return;
    segment.full = true;
    this.#current = undefined;
    clearTimeout(this.#expiry);
    void this.#closeIfDone(segment);
  }

  async #closeIfDone(segment: OpenSegment): Promise<void> {
    if (!segment.full || segment.writing > 0 || segment.name === '') return;
    const { name } = segment;
    segment.name = '';
    await segment.handle.close().catch(() => undefined); // what was written was answered before
    this.#options.sealed(name);
  }

  /** Ends the file that is open. */
  async close(): Promise<void> {
    clearTimeout(this.#expiry);
    const segment = await this.#current?.catch(() => undefined);
    if (!segment) return;
    segment.full = true;
    this.#current = undefined;
    await this.#closeIfDone(segment);
  }
}

/** Joins small parts: each write goes through a thread. */
function* fewer(parts: readonly Uint8Array[]): Generator<Uint8Array> {
  let small: Uint8Array[] = [];
  for (const part of parts) {
    if (part.length < 64 * KiB) small.push(part);
    if (part.length < 64 * KiB && small.length < 256) continue;
    yield Buffer.concat(small);
    small = [];
    if (part.length >= 64 * KiB) yield part;
  }
  yield Buffer.concat(small);
}

/** Writes parts from a place on. Returns the place behind them. */
async function writeAll(handle: FileHandle, parts: Iterable<Uint8Array>, at: number): Promise<number> {
  for (const part of parts) {
    for (let done = 0; done < part.length;) {
      const { bytesWritten } = await handle.write(part, done, Math.min(atOnce, part.length - done), at);
      done += bytesWritten;
      at += bytesWritten;
    }
  }
  return at;
}

/** Resolves when what was written before this call is on the disk. All that call while one sync is under way share the next. */
function synced(segment: OpenSegment): Promise<void> {
  return (segment.nextSync ??= segment.sync
    .catch(() => undefined)
    .then(() => {
      segment.nextSync = undefined;
      return (segment.sync = segment.handle.datasync());
    }));
}

async function syncFolders(folder: string): Promise<void> {
  for (const path of [folder, dirname(folder)]) {
    const handle = await open(path, 'r');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  }
}
