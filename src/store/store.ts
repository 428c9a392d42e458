import { stoppedInIt } from '../model/attempt-reason.ts';
import { KatafleetError } from '../model/errors.ts';
import type { KeptRecord, RunFailure, RunRecord, RunState, RunSummary } from '../model/record.ts';
import type { RunRequest } from '../model/request.ts';
import type { RunResult } from '../model/result.ts';
import type { AcceptedRun, AttemptPlace, KatafleetStore, RunList, RunPage, UnendedPage } from '../model/run-store.ts';
import { MiB } from '../base/units.ts';
import { openHere, openWorker } from './caller/link.ts';
import { Payloads } from './caller/payloads.ts';
import { CommandQueue } from './caller/queue.ts';
import { jsonBytes, requestIn, resultIn, whole } from './caller/records.ts';
import { summaryOf, unendedOf } from './caller/rows.ts';
import { mostSegment, SegmentWriter } from './caller/segments.ts';
import { StoredNodes } from './caller/stored-nodes.ts';
import type { Opened } from './commands.ts';
import { type SegmentKind, segmentsFolder } from './files.ts';
import { encode } from './form/record.ts';
import { farContentsLater } from './form/result.ts';
import { RequestHashes } from './hash.ts';
import { isSameRequest } from './same-request.ts';

export interface StoreOptions {
  /** If the results exceed this many bytes, the oldest runs are removed with their results; unbounded if absent. */
  keepBytes?: number;
  /** What an accepted run outlives: the end of the process (if absent), or a power cut, for which each group of writes waits for the disk. */
  durability?: 'process' | 'power';
  /** Whether the database has a thread of its own; true if absent. One in memory has none. */
  thread?: boolean;
  /** Called with what the operator should know. */
  onTrouble?: (message: string) => void;
}

/**
 * Stores what must outlive the process: accepted runs, their attempts and results, events of nodes, maintenance. The database is used by
 * a worker thread; see {@link KatafleetStore}.
 */
export class Store extends StoredNodes implements KatafleetStore, AsyncDisposable {
  readonly identity: string;
  readonly epoch: number;
  readonly since: number;
  readonly #queue: CommandQueue;
  readonly #payloads: Payloads;
  readonly #folder: string;
  readonly #hashes = new RequestHashes();
  /** Runs with a key that are being accepted, by tenant and key. */
  readonly #underWay = new Map<string, Promise<unknown>>();
  readonly #listeners: (() => void)[];

  private constructor(opened: Opened, of: { queue: CommandQueue; payloads: Payloads; folder: string; listeners: (() => void)[] }) {
    super(of.queue);
    ({ identity: this.identity, epoch: this.epoch, since: this.since } = opened);
    this.#queue = of.queue;
    this.#payloads = of.payloads;
    this.#folder = of.folder;
    this.#listeners = of.listeners;
  }

  /**
   * Opens a journal; `:memory:` stores nothing on disk, and uses no thread.
   * @throws journal.locked, journal.broken, journal.newer
   */
  static async open(
    file: string,
    { keepBytes = Infinity, durability = 'process', thread = true, onTrouble = () => undefined }: StoreOptions = {},
  ): Promise<Store> {
    const listeners: (() => void)[] = [];
    const onTakes = () => {
      if (queue.takes && payloads.takes) for (const listener of listeners) listener();
    };
    const inMemory = file === ':memory:';
    const power = durability === 'power';
    const open = thread && !inMemory ? openWorker : openHere;
    const { queue, opened } = await CommandQueue.open({ file, keepBytes, power, open, onTrouble, onTakes });
    const folder = segmentsFolder(file);
    const bytes = Math.min(mostSegment, Math.max(MiB, keepBytes / 8));
    const writer = (kind: SegmentKind) => {
      const sealed = (segment: string) => void queue.write({ do: 'seal', segment }, 'owed').catch(() => undefined); // or when it is opened again
      return new SegmentWriter({ folder, kind, epoch: opened.epoch, bytes, power, sealed });
    };
    const writers = inMemory ? undefined : { requests: writer('requests'), results: writer('results') };
    const payloads = new Payloads({ writers, onTrouble, onTakes });
    return new Store(opened, { queue, payloads, folder, listeners });
  }

  get takes(): boolean {
    return this.#queue.takes && this.#payloads.takes;
  }

  onTakes(listener: () => void): void {
    this.#listeners.push(listener);
  }

  async accept(run: AcceptedRun): Promise<{ id: string; known: boolean }> {
    for (const { path, content } of run.request.files) {
      if (!(content instanceof Uint8Array))
        throw new KatafleetError('request.invalid', `${path}: a run that is written down carries its files whole, not as streams`);
    }
    const { tenant, key, sent = { request: run.request, placing: run.placing } } = run;
    if (key === undefined) return this.#accept(run, sent);
    const name = JSON.stringify([tenant, key]);
    for (let first = this.#underWay.get(name); first; first = this.#underWay.get(name)) {
      await first.catch(() => undefined); // its own caller is told
      const known = await this.known(tenant, key, sent);
      if (known !== undefined) return { id: known, known: true };
    }
    const accepted = this.#accept(run, sent).finally(() => this.#underWay.delete(name));
    this.#underWay.set(name, accepted);
    return accepted;
  }

  async #accept({ id, tenant, key, request, placing, at }: AcceptedRun, sent: object): Promise<{ id: string; known: boolean }> {
    this.#queue.check();
    this.#payloads.check();
    // Only the hash of a run with a key is ever asked for.
    const hash = key === undefined ? new Uint8Array() : await this.#hashes.of(sent);
    const stored = await this.#payloads.request(encode(request));
    const { image } = request;
    const answer = await this.#queue
      .write({ do: 'accept', id, tenant, key, hash, image, placing: JSON.stringify(placing), at, request: stored }, 'once')
      .catch((error: unknown) => {
        // Perhaps it was stored, and the answer is what is missing.
        if (error instanceof KatafleetError && error.code === 'journal.unavailable')
          void this.#queue.write({ do: 'withdraw', id }, 'owed').catch(() => undefined);
        throw error;
      });
    if ('conflict' in answer) throw conflict(key, answer.conflict);
    return answer;
  }

  async known(tenant: string, key: string, sent: object): Promise<string | undefined> {
    const hash = await this.#hashes.of(sent);
    const there = await this.#queue.read({ do: 'known', tenant, key });
    if (!there || isSameRequest(there.hash, hash)) return there?.id;
    throw conflict(key, there.id);
  }

  begin(id: string, attempt: number, { node, warm, resumed }: AttemptPlace, at: number): Promise<void> {
    const begun = this.#queue.write({ do: 'begin', id, attempt, node, warm, resumed, at }, 'owed');
    begun.catch(() => undefined); // nobody need wait for it
    return begun;
  }

  lost(id: string, attempt: number, reason: string, at: number): Promise<boolean> {
    return this.#queue.write({ do: 'lost', id, attempt, reason, at }, 'owed');
  }

  stopped(id: string, attempt: number, at: number): Promise<boolean> {
    return this.lost(id, attempt, stoppedInIt, at);
  }

  async finish(id: string, attempt: number, result: RunResult, at: number): Promise<boolean> {
    const stored = await this.#payloads.result(encode(result, await farContentsLater(result.changes.files)));
    return this.#queue.write({ do: 'finish', id, attempt, result: stored, at }, 'owed');
  }

  fail(id: string, attempt: number | undefined, error: RunFailure, at: number): Promise<boolean> {
    return this.#queue.write({ do: 'fail', id, attempt, error: JSON.stringify(error), message: error.message, at }, 'owed');
  }

  cancel(id: string, at: number): Promise<boolean> {
    return this.#queue.write({ do: 'cancel', id, at }, 'owed');
  }

  look(id: string): Promise<KeptRecord | undefined> {
    return this.#again(id, async () => {
      const there = await this.#queue.read({ do: 'look', id });
      if (!there) return undefined;
      const { run, attempts, result } = there;
      return { ...summaryOf(run), attempts, result: result && (await resultIn(result, this.#folder)) };
    });
  }

  async summary(id: string): Promise<RunSummary | undefined> {
    const row = await this.#queue.read({ do: 'summary', id });
    return row && summaryOf(row);
  }

  get(id: string): Promise<RunRecord | undefined> {
    return this.#again(id, async () => {
      const record = await this.look(id);
      return record && { ...record, result: record.result && (await whole(record.result)) };
    });
  }

  request(id: string): Promise<RunRequest | undefined> {
    return this.#again(id, async () => {
      const stored = await this.#queue.read({ do: 'request', id });
      return stored && (await requestIn(stored, this.#folder));
    });
  }

  /** Reads a second time if the segment is gone: the run was forgotten meanwhile, or its record has another place now. */
  async #again<T>(id: string, read: () => Promise<T>): Promise<T> {
    const gone = (error: unknown) => error instanceof KatafleetError && error.code === 'run.unknown';
    try {
      return await read();
    } catch (error) {
      if (!gone(error)) throw error;
    }
    try {
      return await read();
    } catch (cause) {
      throw gone(cause) ? new KatafleetError('journal.broken', `the files of the run ${id} are missing in the journal`, { cause }) : cause;
    }
  }

  async resultBytes(id: string): Promise<number> {
    const size = await this.#queue.read({ do: 'resultSize', id });
    return size ? jsonBytes(size) : 0;
  }

  async unfinished({ after = 0, limit }: { after?: number | undefined; limit: number }): Promise<UnendedPage> {
    const rows = await this.#queue.read({ do: 'unfinished', after, limit: limit + 1 });
    const last = rows.length > limit ? rows[limit - 1] : undefined;
    return { runs: rows.slice(0, limit).map(unendedOf), ...(last ? { next: last.sequence } : {}) };
  }

  async list(of: RunList): Promise<RunPage> {
    const { limit } = of;
    const rows = await this.#queue.read({ do: 'list', of: { ...of, limit: limit + 1 } });
    const last = rows.length > limit ? rows[limit - 1] : undefined;
    return { runs: rows.slice(0, limit).map(summaryOf), ...(last ? { next: last.sequence } : {}) };
  }

  counts(): Promise<Record<RunState, number>> {
    return this.#queue.read({ do: 'counts' });
  }

  async imageUses(): Promise<Map<string, number>> {
    return new Map(await this.#queue.read({ do: 'imageUses' }));
  }

  prune(of: { resultsBefore: number; eventsBefore: number }): Promise<{ runs: number; events: number }> {
    return this.#queue.read({ do: 'prune', ...of }, 'job');
  }

  /** Copies the journal into a folder while it is in use. The copy is one moment's. @throws journal.full */
  async backup(folder: string): Promise<void> {
    await this.#queue.read({ do: 'backup', folder }, 'job');
  }

  async close(): Promise<void> {
    await this.#payloads.close();
    await this.#queue.close();
  }

  /** Ends it as the death of the process would: what waits is not written, and nobody is told. */
  async abandon(): Promise<void> {
    await this.#queue.abandon();
    await this.#payloads.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

const conflict = (key: string | undefined, id: string) =>
  new KatafleetError('request.conflict', `the idempotency key ${JSON.stringify(key)} was used for another run, ${id}`, {
    hint: 'a key belongs to one request: use a new key for a new run',
  });
