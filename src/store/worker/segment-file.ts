import { closeSync, fdatasyncSync, fsyncSync, openSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { MiB } from '../../base/units.ts';
import { makeFolderSync } from '../../files/make-folder.ts';
import type { RecordPlace } from '../commands.ts';
import { type SegmentKind, segmentName } from '../files.ts';

/** A segment is closed at this size. */
const fullAt = 64 * MiB;

interface OpenFile {
  fd: number;
  name: string;
  bytes: number;
  /** Records that are not complete. */
  pending: number;
  /** It is closed when they are. */
  ends: boolean;
}

/** Writes the segments that the worker itself makes: of the migration and of compaction. */
export class SegmentFile {
  readonly #folder: string;
  readonly #kind: SegmentKind;
  readonly #epoch: number;
  readonly #sealed: string[] = [];
  #open: OpenFile | undefined;
  #number = 0;

  constructor(folder: string, kind: SegmentKind, epoch: number) {
    this.#folder = folder;
    this.#kind = kind;
    this.#epoch = epoch;
  }

  /** Begins a record of so many bytes, which are then added in their order. */
  begin(length: number): { place: RecordPlace; add: (bytes: Uint8Array) => void } {
    if (this.#open && this.#open.bytes > 0 && this.#open.bytes + length > fullAt) this.seal();
    const file = (this.#open ??= this.#create());
    const place = { segment: file.name, at: file.bytes, length };
    file.bytes += length;
    file.pending += 1;
    let { at } = place;
    const add = (bytes: Uint8Array) => {
      for (let written = 0; written < bytes.length;) {
        const count = writeSync(file.fd, bytes, written, bytes.length - written, at);
        written += count;
        at += count;
      }
      if (at < place.at + length) return;
      fdatasyncSync(file.fd); // the rows of an older place go next
      file.pending -= 1;
      closeIfDone(file);
    };
    return { place, add };
  }

  #create(): OpenFile {
    makeFolderSync(this.#folder, 0o700);
    for (;;) {
      const name = segmentName(this.#kind, { now: Date.now(), epoch: this.#epoch, by: 'w', number: this.#number });
      this.#number += 1;
      try {
        const fd = openSync(join(this.#folder, name), 'wx', 0o600);
        syncFolder(this.#folder);
        return { fd, name, bytes: 0, pending: 0, ends: false };
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error; // a worker of before, of the same opening
      }
    }
  }

  /** Ends the file; the next record goes to a new one. */
  seal(): void {
    if (!this.#open) return;
    this.#sealed.push(this.#open.name);
    this.#open.ends = true;
    closeIfDone(this.#open);
    this.#open = undefined;
  }

  /** Returns the names of the files that have ended since the last call. */
  sealed(): string[] {
    return this.#sealed.splice(0);
  }
}

function closeIfDone(file: OpenFile): void {
  if (file.ends && file.pending === 0) closeSync(file.fd);
}

/** Brings a new name to the disk, and that of its folder. */
function syncFolder(folder: string): void {
  for (const path of [folder, dirname(folder)]) {
    const fd = openSync(path, 'r');
    try {
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
  }
}
