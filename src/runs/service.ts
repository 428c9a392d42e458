import { randomUUID } from 'node:crypto';
import { ByteBudget, type Room } from '../base/byte-budget.ts';
import { within } from '../base/deadline.ts';
import { KatafleetError, knownCode, messageOf } from '../model/errors.ts';
import { type Placing, unplaced } from '../model/placing.ts';
import type { KeptRecord, RunRecord, UnendedRun } from '../model/record.ts';
import type { OnOutput, RunRequest } from '../model/request.ts';
import type { RunResult } from '../model/result.ts';
import { firstEvent, type RunEvent } from '../model/run-event.ts';
import type { RunStore } from '../model/run-store.ts';
import type { Dispatcher } from './dispatcher.ts';
import { Logs } from './events/logs.ts';
import { type ReadOptions, Reading } from './events/reading.ts';
import { checkJob, type Job } from './job.ts';
import type { RunEnding } from './life/life.ts';
import type { LiveRun, SubmitOptions } from './life/live-run.ts';
import { asError, cancelled } from './life/machine.ts';
import type { Recorder } from './life/records.ts';
import { Recovery } from './recovery.ts';
import { runsFull } from './room/runs-full.ts';
import type { RunServiceOptions, RunThrough } from './service-options.ts';

/** The part of the store that the service uses. */
export type RunJournal = Recorder &
  Pick<RunStore, 'accept' | 'known' | 'summary' | 'look' | 'get' | 'request' | 'resultBytes' | 'unfinished'>;

/** A run that is in the journal. */
export interface Acceptance {
  id: string;
  /** Whether an earlier call with the same key has made it. */
  known: boolean;
  /** When it was accepted, Unix ms; absent if it was known. */
  acceptedAt?: number;
}

/** How long a cancel waits for the end of the run (ms). */
const cancelMs = 30_000;
/** How long a stop waits for the ends of runs to be stored (ms). */
const storedMs = 5_000;
/** Runs that are read at once from the journal, to be taken up. */
const pageRuns = 500;

/** Runs that outlive the process: the journal has each run before its acceptance is reported, and its result before that is reported. */
export class RunService {
  readonly #dispatcher: Dispatcher;
  readonly #journal: RunJournal;
  readonly #logs: Logs;
  readonly #reading: Reading;
  /** Runs with a key that are being accepted. */
  readonly #joining = new Map<string, Promise<void>>();
  readonly #onEmpty: (() => void)[] = [];
  #recovery: Recovery<UnendedRun> | undefined;
  readonly #requests: ByteBudget;
  readonly #onTrouble: (message: string) => void;

  constructor(journal: RunJournal, dispatcher: (recorder: Recorder) => Dispatcher, options: RunServiceOptions = {}) {
    const { requests = Infinity, onTrouble = () => undefined, windows } = options;
    this.#onTrouble = onTrouble;
    this.#requests = typeof requests === 'number' ? new ByteBudget(requests) : requests;
    this.#journal = journal;
    this.#dispatcher = dispatcher(journal);
    this.#logs = new Logs(windows);
    this.#reading = new Reading({
      logs: this.#logs,
      look: (id) => this.look(id),
      ended: async (id) => ((await this.#journal.summary(id)) ?? unknown(id)).endedAt !== undefined,
      find: (id) => this.#dispatcher.find(id)?.log,
    });
  }

  get dispatcher(): Dispatcher {
    return this.#dispatcher;
  }

  /**
   * Accepts a run, or returns the run that has the same tenant and key. `sent` is the request as the client sent it, before defaults:
   * it decides whether two requests are the same.
   * @param room the room that the request's bytes have in the budget of requests already; it is given back if no run begins
   * @throws request.conflict if that run's request differs; what {@link Dispatcher.prepare} throws; queue.full; journal.full,
   *   journal.unavailable
   */
  async accept(request: RunRequest, placing: Placing, key?: string, sent: object = { request, placing }, room?: Room): Promise<Acceptance> {
    return this.#accept(request, placing, { ...(key === undefined ? {} : { key, sent }), room });
  }

  async #accept(
    request: RunRequest,
    placing: Placing,
    { key, sent = {}, room, ...how }: { key?: string; sent?: object; room?: Room | undefined } & NewRunOptions,
  ): Promise<Acceptance> {
    const { tenant } = placing;
    try {
      const job = checkJob(request, placing);
      if (key === undefined) return await this.#begin(job, {}, room, how);
      const mark = JSON.stringify([tenant, key]);
      for (let other = this.#joining.get(mark); other; other = this.#joining.get(mark)) {
        await other;
        const id = await this.#journal.known(tenant, key, sent);
        if (id !== undefined) return known(id, room);
      }
      const begun = this.#begin(job, { key, sent }, room, how);
      const over = begun.then(
        () => void this.#joining.delete(mark),
        () => void this.#joining.delete(mark),
      );
      this.#joining.set(mark, over);
      return await begun;
    } catch (error) {
      room?.close();
      // A run that has the key is the answer, whatever keeps a new one out.
      const id = key === undefined || isConflict(error) ? undefined : await this.#journal.known(tenant, key, sent).catch(onlyConflict);
      if (id !== undefined) return { id, known: true };
      throw error;
    }
  }

  async #begin(
    job: Job,
    of: { key?: string; sent?: object },
    room: Room | undefined,
    { told = () => undefined, ...options }: NewRunOptions,
  ): Promise<Acceptance> {
    await this.#dispatcher.prepare(job);
    const bytes = room ?? this.#requests.tryOpen(job.bytes);
    if (!bytes) throw runsFull();
    const at = Date.now();
    const { request, placing } = job;
    let run: LiveRun;
    try {
      run = this.#open(job, bytes, { id: randomUUID(), ...options }, told);
    } catch (error) {
      bytes.close();
      throw error;
    }
    const { id } = run;
    let answer;
    try {
      answer = await this.#journal.accept({ id, tenant: placing.tenant, ...of, request, placing, at });
    } catch (error) {
      this.#dispatcher.refused(run, asError(error));
      throw error;
    }
    if (answer.known) this.#dispatcher.refused(run, new KatafleetError('request.conflict', `the run ${answer.id} has the key`));
    else this.#dispatcher.stored(run);
    if (run.life.phase === 'ended' && run.life.end.kind === 'refused' && !answer.known) throw run.life.end.error;
    return answer.known ? answer : { ...answer, acceptedAt: at };
  }

  /** @throws queue.full, service.stopping */
  #open(job: Job, room: Room, options: SubmitOptions & { id: string }, told: (end: RunEnding) => void): LiveRun {
    const { id } = options;
    const log = this.#logs.open(id, options.attempts);
    const over = (end: RunEnding) => {
      room.close();
      this.#logs.ended(id);
      told(end);
      if (this.#dispatcher.size === 0) for (const resolve of this.#onEmpty.splice(0)) resolve();
    };
    try {
      const run = this.#dispatcher.open(job, options, over, log);
      room.hold(job.bytes);
      return run;
    } catch (error) {
      this.#logs.ended(id);
      throw error;
    }
  }

  /**
   * Runs a request to its end and returns its result. @throws the run's error; what {@link accept} throws
   */
  async run(
    request: RunRequest,
    { placing = unplaced, key, id: wanted, signal, onOutput, onAttempt }: RunThrough = {},
  ): Promise<RunResult> {
    if (signal?.aborted) throw cancelled();
    const found: { own?: string } = {};
    let told!: (end: RunEnding) => void;
    const end = new Promise<RunEnding>((resolve) => (told = resolve));
    const cancel = () => {
      if (found.own !== undefined) this.#stop(found.own);
    };
    signal?.addEventListener('abort', cancel, { once: true });
    try {
      const sent = { request, placing };
      const hears = {
        ...(onOutput ? { onOutput } : {}),
        ...(onAttempt ? { onAttempt } : {}),
        ...(wanted === undefined ? {} : { id: wanted }),
      };
      const { id, known: joined } = await this.#accept(request, placing, { ...(key === undefined ? {} : { key, sent }), ...hears, told });
      found.own = id;
      if (signal?.aborted) cancel();
      return joined ? await this.#joined(id, { signal, onOutput }) : resultOf(await end);
    } finally {
      signal?.removeEventListener('abort', cancel);
    }
  }

  /** Cancels a run for a caller that waits for its end. */
  #stop(id: string): void {
    void this.cancel(id).catch((error: unknown) => this.#onTrouble(`the run ${id} could not be cancelled: ${messageOf(error)}`));
  }

  /** Waits for the end of a run that another call has begun. */
  async #joined(id: string, { signal, onOutput }: { signal: AbortSignal | undefined; onOutput: OnOutput | undefined }): Promise<RunResult> {
    if (onOutput) {
      for await (const event of this.events(id, signal ? { signal } : {})) {
        if (event.type === 'stdout' || event.type === 'stderr') await onOutput(event.step, event.type, event.bytes);
      }
    }
    const { result, error, state } = await this.wait(id, Infinity);
    if (result) return result;
    if (error) throw new KatafleetError(knownCode(error.code), error.message, { hint: error.hint });
    throw state === 'cancelled' ? cancelled() : new KatafleetError('service.stopping', 'katafleet is stopping; the run goes on later');
  }

  /**
   * Takes up the runs that an earlier katafleet accepted and did not end, now or when there is room, page by page. A run during which
   * katafleet itself died as often as a run is tried is not tried again, because it may be the cause. Resolves when the first page was
   * read, with the number of its runs.
   * @param mostBytes most bytes of requests in memory at once
   */
  recover(mostBytes = this.#requests.most): Promise<number> {
    const { attempts } = this.#dispatcher;
    this.#recovery = new Recovery({
      page: (after) => this.#journal.unfinished({ after, limit: pageRuns }),
      sort: (run) => {
        if (this.#dispatcher.find(run.id)) return 'new';
        if (run.abandoned < attempts) return 'old';
        const why = `the run was tried ${run.abandoned} times, and each time it ended the server`;
        void this.#end(run.id, new KatafleetError('run.fatal', why));
        return 'over';
      },
      mostBytes,
      suspectFrom: Math.max(1, attempts - 1),
      start: (run) => this.#recover(run),
      onTrouble: (error) => this.#onTrouble(`the runs of before can't be read: ${messageOf(error)}`),
    });
    return this.#recovery.begin();
  }

  async #recover({ id, placing, acceptedAt, lastAttempt, tries }: UnendedRun): Promise<void> {
    try {
      const request = await this.#journal.request(id);
      if (!request) {
        if ((await this.#journal.look(id))?.endedAt !== undefined) return; // it was cancelled meanwhile
        throw new KatafleetError('journal.broken', 'the journal has lost the request of the run');
      }
      const job = checkJob(request, placing);
      await new Promise<void>((resolve) => {
        const options = { id, attempts: lastAttempt, tries, acceptedAt, recovered: true };
        this.#dispatcher.stored(this.#open(job, this.#requests.open(), options, () => resolve()));
      });
    } catch (error) {
      // A stopping katafleet leaves it to the next one.
      if (!(error instanceof KatafleetError && error.code === 'service.stopping')) await this.#end(id, error);
    }
  }

  /** Ends a run that is not taken up. Damage to one run in the journal does not keep the other runs from being taken up. */
  async #end(id: string, error: unknown): Promise<void> {
    const { code, message } = asError(error);
    await this.#journal.fail(id, undefined, { code, message }, Date.now()).catch((cause: unknown) => {
      this.#onTrouble(`the run ${id} can't be ended: ${messageOf(cause)} (${messageOf(error)})`);
    });
    this.#logs.ended(id);
  }

  /** Returns a run with its whole result in memory. @throws run.unknown */
  async get(id: string): Promise<RunRecord> {
    return (await this.#journal.get(id)) ?? unknown(id);
  }

  /** Returns a run without its large files in memory. @throws run.unknown */
  async look(id: string): Promise<KeptRecord> {
    return (await this.#journal.look(id)) ?? unknown(id);
  }

  /** Returns the memory that a run's result needs as JSON (bytes); 0 if it has none. */
  resultBytes(id: string): Promise<number> {
    return this.#journal.resultBytes(id);
  }

  /** Returns the request of a run that has not ended; undefined for any other, and for one that was not taken up yet. */
  jobOf(id: string): Job | undefined {
    return this.#dispatcher.find(id)?.job;
  }

  /** Waits until the run ends, `ms` have passed or the signal aborts; returns its record as it is then. @throws run.unknown */
  async wait(id: string, ms: number, signal?: AbortSignal): Promise<RunRecord> {
    await this.ended(id, ms, signal);
    return this.get(id);
  }

  /** Resolves when the run ends, `ms` have passed or the signal aborts. @throws run.unknown */
  ended(id: string, ms: number, signal?: AbortSignal): Promise<void> {
    return this.#reading.ended(id, ms, signal);
  }

  /**
   * Returns the events of a run after an id, at least one. If there is none, waits for the next for `waitMs` at most. After the run's
   * last event returns none. @throws run.unknown
   */
  read(id: string, options: ReadOptions = {}): Promise<RunEvent[]> {
    return this.#reading.read(id, options);
  }

  /**
   * The events of a run after an id, up to its end. A slow reader does not slow the run: it gets a gap where it is too late. Ends
   * early when the signal aborts or the service ends. @throws run.unknown
   */
  events(id: string, { after = firstEvent, signal }: Pick<ReadOptions, 'after' | 'signal'> = {}): AsyncGenerator<RunEvent, void> {
    return this.#reading.events(id, after, signal);
  }

  /** Number of requests that wait for a run to end, or for its events. */
  get waiters(): number {
    return this.#logs.waiters;
  }

  /** Ends a run: a waiting one never begins; a running one is killed and keeps its output so far. @throws run.unknown */
  async cancel(id: string): Promise<KeptRecord> {
    const record = await this.look(id);
    if (record.endedAt !== undefined) return record;
    if (this.#dispatcher.find(id)) {
      this.#dispatcher.cancel(id);
      await this.ended(id, cancelMs); // a node or a disk may be slow to release it
    } else {
      this.#recovery?.remove(id);
      await within(cancelMs, () => this.#journal.cancel(id, Date.now()));
      if (this.#dispatcher.find(id)) this.#dispatcher.cancel(id); // it was being taken up
      this.#logs.ended(id);
    }
    return this.look(id);
  }

  /** Resolves when no run is under way, or the time is over. Waiting runs stay in the journal. */
  async settle(ms: number): Promise<void> {
    const idle = async (signal: AbortSignal) => {
      while (this.#dispatcher.running > 0 && !signal.aborted) await this.#dispatcher.idle();
    };
    await within(ms, idle).catch(() => undefined); // the time is over
  }

  /** Stops taking up runs that an earlier katafleet left. */
  stop(): void {
    this.#recovery?.stop();
    this.#dispatcher.stop();
  }

  /** Ends all waits for runs, and accepts no more: the service ends. */
  release(): void {
    this.#reading.release();
  }

  /** Resolves when every run that was under way is stored, or left for the next katafleet. A journal that takes nothing is not waited for long. */
  async allEnded(): Promise<void> {
    await this.#dispatcher.idle();
    if (this.#dispatcher.size === 0) return;
    await within(storedMs, () => new Promise<void>((resolve) => this.#onEmpty.push(resolve))).catch(() => undefined);
  }
}

interface NewRunOptions extends Pick<SubmitOptions, 'id' | 'onOutput' | 'onAttempt'> {
  told?: (end: RunEnding) => void;
}

function known(id: string, room: Room | undefined): Acceptance {
  room?.close();
  return { id, known: true };
}

const isConflict = (error: unknown) => error instanceof KatafleetError && error.code === 'request.conflict';

/** Throws a conflict; any other error only means that the key is not known to be there. */
function onlyConflict(error: unknown): undefined {
  if (isConflict(error)) throw error;
}

function resultOf(end: RunEnding): RunResult {
  if (end.kind === 'finished') return end.result;
  throw end.error;
}

function unknown(id: string): never {
  throw new KatafleetError('run.unknown', `no run ${id}: it never was, or its time to be kept is over`);
}
