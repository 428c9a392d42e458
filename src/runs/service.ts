import { randomUUID } from 'node:crypto';
import { ByteBudget, type Room } from '../base/byte-budget.ts';
import { within } from '../base/deadline.ts';
import { KatafleetError, messageOf } from '../model/errors.ts';
import type { Placing } from '../model/placing.ts';
import type { KeptRecord, RunRecord, UnendedRun } from '../model/record.ts';
import type { RunRequest } from '../model/request.ts';
import type { RunResult } from '../model/result.ts';
import type { Dispatcher } from './dispatcher.ts';
import { checkJob, type Job } from './job.ts';
import { Owed } from './room/owed.ts';
import { Recovery } from './recovery.ts';
import { runsFull } from './room/runs-full.ts';
import type { Recorder, SubmitOptions } from './ticket.ts';
import { Waiters } from './waiters.ts';

/** The part of the journal that the service uses. */
export interface RunJournal {
  accept(run: { id: string; tenant: string; key?: string; sent?: object; request: RunRequest; placing: Placing; at: number }): {
    id: string;
    known: boolean;
  };
  begin(id: string, attempt: number, where: { node: string; warm?: boolean; resumed?: boolean }, at: number): void;
  lost(id: string, attempt: number, reason: string, at: number): boolean;
  finish(id: string, attempt: number, result: RunResult, at: number): boolean;
  fail(id: string, attempt: number | undefined, error: { code: string; message: string; hint?: string }, at: number): boolean;
  cancel(id: string, at: number): boolean;
  get(id: string): RunRecord | undefined;
  look(id: string): KeptRecord | undefined;
  request(id: string): RunRequest | undefined;
  resultBytes(id: string): number;
  /** Returns the run that has the tenant's key. @throws request.conflict if its request differs */
  known(tenant: string, key: string, sent: object): string | undefined;
  /** Stores that a stopping katafleet left an attempt, and its run to the next one. */
  stopped(id: string, attempt: number, at: number): boolean;
  unfinished(): Iterable<UnendedRun>;
}

/** How long a cancel waits for the end of the run (ms). */
const cancelMs = 30_000;

/** Runs that outlive the process: the journal has each run before its acceptance is reported, and its result before that is reported. */
export class RunService {
  readonly #dispatcher: Dispatcher;
  readonly #journal: RunJournal;
  readonly #live = new Map<string, { job: Job; cancel: AbortController; ended: Promise<void> }>();
  readonly #waiters = new Waiters();
  readonly #owed: Owed;
  #ending = false;
  #recovery: Recovery<UnendedRun> | undefined;
  readonly #requests: ByteBudget;
  readonly #onTrouble: (message: string) => void;

  /** @param requests most bytes of the requests of all runs that wait or run: they are in memory */
  constructor(
    journal: RunJournal,
    dispatcher: (recorder: Recorder) => Dispatcher,
    requests: number | ByteBudget = Infinity,
    onTrouble: (message: string) => void = () => undefined,
  ) {
    this.#onTrouble = onTrouble;
    this.#requests = typeof requests === 'number' ? new ByteBudget(requests) : requests;
    this.#journal = journal;
    this.#owed = new Owed(onTrouble);
    const owed = this.#owed;
    this.#dispatcher = dispatcher({
      takes: () => owed.takes,
      begin: (...of) => owed.now(() => journal.begin(...of)),
      lost: (...of) => owed.write(of[0], () => journal.lost(...of)),
      finish: (...of) => owed.write(of[0], () => journal.finish(...of)),
      fail: (id, attempt, error, at) => {
        if (error.code === 'run.cancelled') return owed.write(id, () => journal.cancel(id, at));
        // A stopping katafleet leaves the run to the next one.
        if (error.code === 'service.stopping') return attempt !== undefined && owed.write(id, () => journal.stopped(id, attempt, at));
        const { code, message, hint } = error;
        return owed.write(id, () => journal.fail(id, attempt, { code, message, ...(hint === undefined ? {} : { hint }) }, at));
      },
    });
  }

  get dispatcher(): Dispatcher {
    return this.#dispatcher;
  }

  /**
   * Takes up the runs that an earlier katafleet accepted and did not end, now or when there is room. A run during which katafleet
   * itself died as often as a run is tried is not tried again, because it may be the cause. Returns the number of runs.
   * @param mostBytes most bytes of requests in memory at once
   */
  recover(mostBytes = this.#requests.most): number {
    const { attempts } = this.#dispatcher;
    const runs: UnendedRun[] = [];
    for (const run of this.#journal.unfinished()) {
      if (run.abandoned < attempts) runs.push(run);
      else
        this.#end(run.id, new KatafleetError('run.fatal', `the run was tried ${run.abandoned} times, and each time it ended the server`));
    }
    const start = (run: UnendedRun) => this.#recover(run);
    this.#recovery = new Recovery(runs, { mostBytes, suspectFrom: Math.max(1, attempts - 1), start });
    this.#recovery.go();
    return runs.filter(({ id }) => this.#live.has(id) || this.#recovery?.has(id)).length;
  }

  async #recover({ id, placing, acceptedAt, lastAttempt, stopped }: UnendedRun): Promise<void> {
    try {
      const request = this.#journal.request(id);
      if (!request) throw new KatafleetError('journal.broken', 'the journal has lost the request of the run');
      this.#start(id, checkJob(request, placing), this.#requests.open(), {
        attempts: lastAttempt,
        uncounted: stopped,
        acceptedAt,
        recovered: true,
      });
      await this.#live.get(id)?.ended;
    } catch (error) {
      // A stopping katafleet leaves it to the next one.
      if (!(error instanceof KatafleetError && error.code === 'service.stopping')) this.#end(id, error);
    }
  }

  #end(id: string, error: unknown): void {
    const code = error instanceof KatafleetError ? error.code : 'internal';
    const at = Date.now();
    try {
      this.#owed.write(id, () => this.#journal.fail(id, undefined, { code, message: messageOf(error) }, at));
    } catch (cause) {
      // Damage to one run in the journal must not keep the other runs from being taken up.
      this.#onTrouble(`the run ${id} can't be ended: ${messageOf(cause)} (${messageOf(error)})`);
    }
    void this.#owed.settled(id).then(() => this.#waiters.ended(id));
  }

  /**
   * Accepts a run, or returns the run that has the same tenant and key. `sent` is the request as the client sent it, before defaults:
   * it decides whether two requests are the same.
   * @param room the room that the request's bytes have in the budget of requests already; it is given back if no run begins
   * @throws request.conflict if that run's request differs; what {@link Dispatcher.check} throws; queue.full; journal.full
   */
  async accept(
    request: RunRequest,
    placing: Placing,
    key?: string,
    sent: object = { request, placing },
    room?: Room,
  ): Promise<{ id: string; known: boolean }> {
    let begun = false;
    try {
      const job = checkJob(request, placing);
      const { tenant } = placing;
      const known = () => (key === undefined ? undefined : this.#journal.known(tenant, key, sent));
      let there = known();
      if (there === undefined) {
        this.#owed.check();
        await this.#dispatcher.prepare(job);
        there = known(); // another call may have been quicker
      }
      if (there !== undefined) return { id: there, known: true };
      room ??= this.#requests.tryOpen(job.bytes);
      if (!room) throw runsFull();
      const id = randomUUID();
      const at = Date.now();
      this.#start(id, job, room, {
        acceptedAt: at,
        onAdmitted: () =>
          void this.#owed.now(() =>
            this.#journal.accept({ id, tenant, ...(key === undefined ? {} : { key, sent }), request, placing, at }),
          ),
      });
      begun = true;
      return { id, known: false };
    } finally {
      if (!begun) room?.close();
    }
  }

  /** @throws queue.full, and what onAdmitted throws */
  #start(id: string, job: Job, room: Room, options: SubmitOptions): void {
    const cancel = new AbortController();
    const end = this.#dispatcher.enqueue(job, { ...options, id, signal: cancel.signal }).then(
      () => undefined,
      () => undefined, // it is in the journal
    );
    room.hold(job.bytes);
    const gone = () => {
      room.close();
      this.#live.delete(id);
      this.#waiters.ended(id);
    };
    // The end is reported only after it is stored.
    this.#live.set(id, { job, cancel, ended: end.then(() => this.#owed.settled(id)).finally(gone) });
  }

  /** Returns a run with its whole result in memory. @throws run.unknown */
  get(id: string): RunRecord {
    return this.#journal.get(id) ?? unknown(id);
  }

  /** Returns a run without its large files in memory. @throws run.unknown */
  look(id: string): KeptRecord {
    return this.#journal.look(id) ?? unknown(id);
  }

  /** Returns the memory that a run's result needs as JSON (bytes); 0 if it has none. */
  resultBytes(id: string): number {
    return this.#journal.resultBytes(id);
  }

  /** Returns the request of a run that has not ended; undefined for any other. */
  jobOf(id: string): Job | undefined {
    return this.#live.get(id)?.job;
  }

  /** Waits until the run ends, `ms` have passed or the signal aborts; returns its record as it is then. @throws run.unknown */
  async wait(id: string, ms: number, signal?: AbortSignal): Promise<RunRecord> {
    await this.ended(id, ms, signal);
    return this.get(id);
  }

  /** Resolves when the run ends, `ms` have passed or the signal aborts. @throws run.unknown */
  async ended(id: string, ms: number, signal?: AbortSignal): Promise<void> {
    if (this.look(id).endedAt !== undefined || ms <= 0 || this.#ending) return;
    // This also holds for a run that is left to the next katafleet: a client that asks repeatedly must not get an answer at once each
    // time.
    await this.#waiters.wait(id, ms, signal);
  }

  /** Number of requests that wait for a run to end. */
  get waiters(): number {
    return this.#waiters.size;
  }

  /** Ends a run: a waiting one never begins; a running one is killed and keeps its output so far. @throws run.unknown */
  async cancel(id: string): Promise<KeptRecord> {
    const record = this.look(id);
    const live = this.#live.get(id);
    if (this.#recovery?.has(id)) {
      this.#owed.now(() => this.#journal.cancel(id, Date.now())); // if this can't be written, the run will still be taken up
      this.#recovery.remove(id);
      this.#waiters.ended(id);
    } else if (live && record.endedAt === undefined) {
      live.cancel.abort(new KatafleetError('run.cancelled', 'the run was cancelled'));
      await this.#waiters.wait(id, cancelMs); // a node or a disk may be slow to release it
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
    this.#ending = true;
    this.#waiters.all();
  }

  /** Resolves when every run that was under way is stored, or left for the next katafleet. */
  async allEnded(): Promise<void> {
    await this.#dispatcher.idle();
    this.#owed.close();
    await Promise.all(Array.from(this.#live.values(), ({ ended }) => ended));
  }
}

function unknown(id: string): never {
  throw new KatafleetError('run.unknown', `no run ${id}: it never was, or its time to be kept is over`);
}
