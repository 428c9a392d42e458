import type { RunState } from '../../model/record.ts';
import { type SegmentKind, segmentOf } from '../files.ts';
import type { Db } from './open.ts';

/** A segment file as the database has it. */
export interface Segment {
  id: number;
  name: string;
  kind: SegmentKind;
  /** Bytes from its beginning to the end of its last record. */
  bytes: number;
  /** Bytes of the records that are still needed. */
  live: number;
  /** Number of those records. */
  records: number;
  /** Nothing more is written to it. */
  sealed: boolean;
}

const states: readonly RunState[] = ['waiting', 'running', 'finished', 'failed', 'cancelled'];
type Sums = Map<string, number>;

/**
 * What is counted as runs come and go, so that no question scans them: runs in each state, bytes of results, live bytes of segments.
 * Changes are kept in memory and written once for each transaction.
 */
export class Totals {
  readonly #sql;
  readonly #values: Sums = new Map();
  readonly #segments = new Map<number, Segment>();
  readonly #byName = new Map<string, Segment>();
  readonly #uses: Sums = new Map();
  /** Bytes of the segments of results. */
  #inSegments = 0;
  readonly #changed = { values: new Set<string>(), segments: new Set<Segment>() };

  constructor(db: Db) {
    this.#sql = {
      values: db.prepare<[], { name: string; value: number }>('SELECT name, value FROM totals'),
      setValue: db.prepare('INSERT INTO totals (name, value) VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value'),
      segments: db.prepare<[], Omit<Segment, 'sealed'> & { sealed: number }>('SELECT * FROM segments ORDER BY id'),
      addSegment: db.prepare('INSERT INTO segments (name, kind, bytes, live, records, sealed) VALUES (?, ?, 0, 0, 0, 0)'),
      setSegment: db.prepare('UPDATE segments SET bytes = ?, live = ?, records = ?, sealed = ? WHERE id = ?'),
      dropSegment: db.prepare('DELETE FROM segments WHERE id = ?'),
      used: db.prepare(
        'INSERT INTO image_uses (image, used_at) VALUES (?, ?) ON CONFLICT DO UPDATE SET used_at = max(used_at, excluded.used_at)',
      ),
    };
    this.reload();
  }

  /** Reads all again: a transaction was rolled back. */
  reload(): void {
    for (const all of [this.#values, this.#segments, this.#byName, this.#uses, this.#changed.values, this.#changed.segments]) all.clear();
    this.#inSegments = 0;
    for (const { name, value } of this.#sql.values.all()) this.#values.set(name, value);
    for (const { sealed, ...segment } of this.#sql.segments.all()) this.#keep({ ...segment, sealed: sealed === 1 });
  }

  #keep(segment: Segment): Segment {
    this.#segments.set(segment.id, segment);
    this.#byName.set(segment.name, segment);
    this.#grown(segment, segment.bytes);
    return segment;
  }

  #grown({ kind }: Segment, by: number): void {
    if (kind === 'results') this.#inSegments += by;
  }

  #add(name: string, by: number): void {
    this.#values.set(name, (this.#values.get(name) ?? 0) + by);
    this.#changed.values.add(name);
  }

  /** Writes a row that nobody reads. */
  probe(): void {
    this.#add('probe', 1);
  }

  moved(from: RunState | undefined, to: RunState | undefined): void {
    if (from === to) return;
    if (from !== undefined) this.#add(`runs.${from}`, -1);
    if (to !== undefined) this.#add(`runs.${to}`, 1);
  }

  counts(): Record<RunState, number> {
    return Object.fromEntries(states.map((state) => [state, this.#values.get(`runs.${state}`) ?? 0])) as Record<RunState, number>;
  }

  /** Counts the bytes of results in rows. */
  inRows(by: number): void {
    this.#add('results.inRows', by);
  }

  /** Bytes of all results on the disk; what is no longer needed in their segments counts too. */
  resultBytes(): number {
    return this.#inSegments + (this.#values.get('results.inRows') ?? 0);
  }

  used(image: string, at: number): void {
    this.#uses.set(image, Math.max(at, this.#uses.get(image) ?? 0));
  }

  /** Returns the segment of a name, which is made known if it is new. */
  segment(name: string): Segment {
    const known = this.#byName.get(name);
    if (known) return known;
    const kind = segmentOf(name)?.kind ?? 'results';
    const id = Number(this.#sql.addSegment.run(name, kind).lastInsertRowid);
    return this.#keep({ id, name, kind, bytes: 0, live: 0, records: 0, sealed: false });
  }

  segmentById(id: number): Segment | undefined {
    return this.#segments.get(id);
  }

  known(name: string): Segment | undefined {
    return this.#byName.get(name);
  }

  all(): Iterable<Segment> {
    return this.#segments.values();
  }

  /** Counts a record that was written to a segment. */
  recordAdded(segment: Segment, { at, length }: { at: number; length: number }): void {
    const end = Math.max(segment.bytes, at + length);
    this.#grown(segment, end - segment.bytes);
    segment.bytes = end;
    segment.live += length;
    segment.records += 1;
    this.#changed.segments.add(segment);
  }

  recordGone(id: number, length: number): void {
    const segment = this.#segments.get(id);
    if (!segment) return;
    segment.live -= length;
    segment.records -= 1;
    this.#changed.segments.add(segment);
  }

  seal(segment: Segment): void {
    segment.sealed = true;
    this.#changed.segments.add(segment);
  }

  /** Forgets segments of which nothing is needed. Returns their names: the files may go after the commit. */
  dropDead(): string[] {
    const names: string[] = [];
    for (const segment of [...this.#changed.segments]) {
      if (!segment.sealed || segment.records > 0) continue;
      this.#sql.dropSegment.run(segment.id);
      this.#segments.delete(segment.id);
      this.#grown(segment, -segment.bytes);
      this.#byName.delete(segment.name);
      this.#changed.segments.delete(segment);
      names.push(segment.name);
    }
    return names;
  }

  /** Writes what has changed, within the transaction. */
  write(): void {
    for (const name of this.#changed.values) this.#sql.setValue.run(name, this.#values.get(name) ?? 0);
    for (const { id, bytes, live, records, sealed } of this.#changed.segments)
      this.#sql.setSegment.run(bytes, live, records, Number(sealed), id);
    for (const [image, at] of this.#uses) this.#sql.used.run(image, at);
    this.#changed.values.clear();
    this.#changed.segments.clear();
    this.#uses.clear();
  }
}
