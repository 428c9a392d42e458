import { closeSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { MiB } from '../../base/units.ts';
import type { RecordPlace } from '../commands.ts';
import type { Db } from './open.ts';
import type { Steps } from './retention.ts';
import type { SegmentFile } from './segment-file.ts';
import type { Segment, Totals } from './totals.ts';

/** A segment of requests is written anew if less than this share of it is needed, and it is at least so large. */
const [mostLive, fromBytes] = [0.25, MiB];
/** Bytes that are copied in one step. */
const atOnce = MiB;

/**
 * Writes segments of requests anew of which little is needed: one run that waits for long would keep the files of all others. Segments
 * of results need none of this, because the runs in one end, and are forgotten, at about the same time.
 */
export class Compaction {
  readonly #sql;
  readonly #totals: Totals;
  readonly #folder: string;
  readonly #file: SegmentFile;

  constructor(db: Db, totals: Totals, folder: string, file: SegmentFile) {
    this.#totals = totals;
    this.#folder = folder;
    this.#file = file;
    this.#sql = {
      next: db.prepare<[number], { run: number; at: number; length: number }>(
        'SELECT run, at, length FROM requests INDEXED BY request_segment WHERE segment = ? LIMIT 1',
      ),
      move: db.prepare('UPDATE requests SET segment = ?, at = ? WHERE run = ? AND segment = ? AND at = ?'),
    };
  }

  /** Returns a segment that is worth it. */
  find(): Segment | undefined {
    for (const segment of this.#totals.all()) {
      const { kind, sealed, bytes, live, records } = segment;
      if (kind === 'requests' && sealed && records > 0 && bytes >= fromBytes && live < mostLive * bytes) return segment;
    }
    return undefined;
  }

  *compact(segment: Segment, { transaction }: Steps): Generator<undefined, void> {
    const fd = openSync(join(this.#folder, segment.name), 'r');
    try {
      for (let record = this.#sql.next.get(segment.id); record; record = this.#sql.next.get(segment.id)) {
        const { run, at, length } = record;
        const place = yield* this.#copy(fd, at, length);
        transaction(() => {
          const to = this.#totals.segment(place.segment);
          if (this.#sql.move.run(to.id, place.at, run, segment.id, at).changes === 0) return; // the run has ended meanwhile
          this.#totals.recordAdded(to, place);
          this.#totals.recordGone(segment.id, length);
        });
        yield;
      }
    } finally {
      closeSync(fd);
    }
  }

  *#copy(fd: number, from: number, length: number): Generator<undefined, RecordPlace> {
    const { place, add } = this.#file.begin(length);
    const buffer = Buffer.allocUnsafe(Math.min(atOnce, length));
    for (let done = 0; done < length;) {
      const count = readSync(fd, buffer, 0, Math.min(buffer.length, length - done), from + done);
      if (count === 0) throw new Error(`a segment of requests is shorter than it was: byte ${from + done} is missing`);
      add(buffer.subarray(0, count));
      done += count;
      yield;
    }
    return place;
  }
}
