import { join } from 'node:path';
import PQueue from 'p-queue';
import { KatafleetError, messageOf } from '../model/errors.ts';
import { AvatarLock } from './avatar-lock.ts';
import { type Given, type RunTest, type Tested, type TestOptions, testRequest, whole } from './avatar-test.ts';
import { Branch, type Start } from './branch.ts';
import { Committer, type Retries } from './committer.ts';
import type { CommitPlan } from './fast-import.ts';
import type { Git } from './git.ts';
import type { KataFiles } from './kata-files.ts';
import type { LogEntry } from './read.ts';
import type { Ending, KataRecord } from './record.ts';
import { type FateOf, fateOf } from './rules.ts';
import { anyUnfinished, type Ended, Spool, type Submission, unfinished, type UnfinishedTest } from './spool.ts';
import { savedBefore, savedStep, testedStep } from './steps.ts';

/** What an avatar shares with the store. */
export interface AvatarServices {
  git: Git;
  run: RunTest;
  trouble: (message: string) => void;
  retries?: Retries;
  /** How long another process may work on the avatar (ms). */
  lockWaitMs: number;
}

/** Most tests in memory whose commits could not be made yet. */
const mostWaiting = 32;
const abandoned: Ending = { kind: 'failed', reason: 'katafleet ended while the test ran' };

/** An avatar after its last submitted test, whose commits may not be made yet. */
interface State {
  sandbox: KataFiles;
  test: number;
}

/** One participant's copy of a kata: its repository, its queue of tests, and the commits that are made beside them. */
export class Avatar {
  readonly branch: Branch;
  readonly #name: string;
  readonly #kata: KataRecord;
  readonly #folder: string;
  readonly #services: AvatarServices;
  readonly #fate: FateOf;
  readonly #tests = new PQueue({ concurrency: 1 });
  readonly #committer: Committer;
  #state: State | undefined;
  readonly #lock: AvatarLock;
  /** Number of tests that are not both answered and committed. */
  #busy = 0;
  /** Called when there are none. */
  #leaving: (() => void)[] = [];

  constructor(kata: KataRecord, name: string, folder: string, start: Start, services: AvatarServices) {
    this.#kata = kata;
    this.#name = name;
    this.#folder = folder;
    this.#services = services;
    this.branch = new Branch(services.git, join(folder, 'repository.git'), start);
    this.#lock = new AvatarLock(folder);
    this.#fate = fateOf(kata.rules, kata.manifest.hidden_filenames);
    this.#committer = new Committer(
      async (plans) => {
        await this.#lock.take(services.lockWaitMs);
        return this.branch.append(plans);
      },
      (text) => this.#trouble(text),
      services.retries,
    );
  }

  /** Whether no test is under way, so that the avatar may leave memory. */
  get idle(): boolean {
    return this.#busy === 0;
  }

  /** Bytes of file contents in memory. */
  get contentBytes(): number {
    let bytes = 0;
    for (const { content } of this.#state?.sandbox.files.values() ?? []) bytes += content?.length ?? 0;
    return bytes;
  }

  /** Runs one test after the avatar's earlier ones. @throws what the run throws, files.*, kata.busy, kata.storage */
  async test(given: Given | undefined, options: TestOptions = {}): Promise<Tested> {
    return this.#use(() => this.#tests.add(() => this.#test(given, options), options.signal ? { signal: options.signal } : {}));
  }

  /** Makes the commits that an earlier katafleet left. Returns the number of their tests; 0 if another process works on the avatar. */
  async recover(): Promise<number> {
    if (!(await anyUnfinished(this.#pending))) return 0;
    return this.#use(() =>
      this.#tests.add(async () => {
        try {
          await this.#lock.take(0);
        } catch (error) {
          if (error instanceof KatafleetError && error.code === 'kata.busy') return 0;
          throw error;
        }
        const { length } = await unfinished(this.#pending);
        await this.#hold(0);
        await this.#committer.idle();
        return length;
      }),
    );
  }

  /** Waits for its tests and commits. Commits that cannot be made stay in the spools. */
  async close(): Promise<void> {
    await this.#tests.onIdle();
    this.#committer.stop();
    await this.#committer.idle();
    if (this.#busy > 0) await new Promise<void>((resolve) => this.#leaving.push(resolve));
  }

  async #test(given: Given | undefined, options: TestOptions): Promise<Tested> {
    const { signal, onOutput, profile } = options;
    const state = await this.#hold(this.#services.lockWaitMs, signal);
    if (this.#committer.waiting >= mostWaiting) {
      throw new KatafleetError('kata.storage', `${this.#committer.waiting} commits of ${this.#name} wait for room on the disk`, {
        hint: 'make room, then test again',
      });
    }
    const { image_name: image } = this.#kata.manifest;
    const test = state.test + 1;
    const submission: Submission = { test, at: Date.now(), image, given: given && (await whole(given)) };
    const before = given ? state.sandbox : await this.branch.contents(state.sandbox);
    const saved = savedStep(this.#kata, this.#name, before, submission);
    const request = testRequest(this.#kata, saved.sandbox, profile);
    const spool = new Spool(this.#pending, test);
    await this.#spooled(spool.begin(submission));
    const savedOid = this.#committer.add(saved.plan, false);
    const of = { kata: this.#kata.id, avatar: this.#name, test };
    let failure: unknown;
    const ending = await this.#services.run(request, { of, ...(signal ? { signal } : {}), ...(onOutput ? { onOutput } : {}) }).then(
      (result): Ending => ({ kind: 'ran', result }),
      (error: unknown): Ending => {
        failure = error;
        return { kind: 'failed', reason: messageOf(error) };
      },
    );
    const ended: Ended = { at: Date.now(), ending };
    const { applied, record, plan } = testedStep(saved, this.#fate, submission, ended);
    await this.#spooled(spool.end(ended));
    this.#state = { sandbox: applied.sandbox, test };
    const committed = this.#commit(spool, savedOid, plan, [saved.sandbox, applied.sandbox]);
    committed.catch(() => undefined); // reported as a trouble, so the caller may ignore it
    if (ending.kind === 'failed') throw failure;
    const { shown, hidden, ignored } = applied;
    return { test, result: ending.result, shown, hidden, ignored, record, committed };
  }

  /** Adds the second commit at once. Resolves when both commits are on disk. */
  async #commit(
    spool: Spool,
    saved: Promise<string>,
    plan: CommitPlan,
    sandboxes: readonly KataFiles[],
  ): Promise<{ saved: string; tested: string }> {
    this.#busy += 1;
    try {
      const [savedOid, testedOid] = await Promise.all([saved, this.#committer.add(plan, true)]);
      await spool.remove();
      // The repository has the contents now.
      for (const { files } of sandboxes) for (const file of files.values()) if (!file.hidden) file.content = undefined;
      void this.#tidy();
      return { saved: savedOid, tested: testedOid };
    } catch (error) {
      spool.close();
      this.#state = undefined; // the spools have the tests; the state is read from them again
      throw error;
    } finally {
      this.#leave();
    }
  }

  async #tidy(): Promise<void> {
    await this.#use(() => this.branch.tidy((text) => this.#trouble(text)));
  }

  /** On a full disk the test's intent is not written, but the test runs. */
  async #spooled(written: Promise<void>): Promise<void> {
    await written.catch((error: unknown) => this.#trouble(`a test is in memory only until its commits are made: ${messageOf(error)}`));
  }

  /** Returns the avatar's state and holds its lock. The commits that an earlier katafleet left are being made then. */
  async #hold(waitMs: number, signal?: AbortSignal): Promise<State> {
    const { held } = this.#lock;
    try {
      await this.#lock.take(waitMs, signal);
    } catch (error) {
      if (!(error instanceof KatafleetError) || error.code !== 'kata.storage') throw error;
      this.#trouble(`${error.message}; the test is run all the same`);
    }
    if (this.#state && (held || this.branch.unmoved)) return this.#state;
    const [{ sandbox, last }, pending] = await Promise.all([this.branch.read(), unfinished(this.#pending)]);
    this.#state = this.#takeUp({ sandbox, test: last?.test ?? 0 }, last, pending);
    return this.#state;
  }

  /** Makes the commits that an earlier katafleet left. */
  #takeUp(state: State, last: LogEntry | undefined, pending: readonly UnfinishedTest[]): State {
    const open = last?.kind === 'saved' ? last.test : undefined;
    const owed = [...pending];
    if (open !== undefined && !pending.some(({ submission }) => submission.test === open)) {
      const { image_name: image } = this.#kata.manifest;
      const submission = { test: open, at: Date.now(), image, given: undefined };
      owed.unshift({ spool: new Spool(this.#pending, open), submission, ended: undefined });
    }
    return owed.reduce((now, { spool, submission, ended = { at: Date.now(), ending: abandoned } }) => {
      const half = submission.test === open;
      if (submission.test <= state.test && !half) {
        spool.remove().catch((error: unknown) => this.#trouble(messageOf(error))); // both commits are in the repository
        return now;
      }
      const [saved, oid] = half
        ? [savedBefore(now.sandbox, submission), Promise.resolve(this.branch.tip)]
        : this.#owe(now.sandbox, submission);
      const { applied, plan } = testedStep(saved, this.#fate, submission, ended);
      this.#commit(spool, oid, plan, [saved.sandbox, applied.sandbox]).catch(() => undefined); // reported as a trouble
      return { sandbox: applied.sandbox, test: submission.test };
    }, state);
  }

  #owe(before: KataFiles, submission: Submission): [ReturnType<typeof savedStep>, Promise<string>] {
    const saved = savedStep(this.#kata, this.#name, before, submission);
    return [saved, this.#committer.add(saved.plan, false)];
  }

  async #use<T>(body: () => Promise<T>): Promise<T> {
    this.#busy += 1;
    try {
      return await body();
    } finally {
      this.#leave();
    }
  }

  #leave(): void {
    this.#busy -= 1;
    if (this.#busy > 0) return;
    this.#lock.release();
    for (const left of this.#leaving.splice(0)) left();
  }

  get #pending(): string {
    return join(this.#folder, 'pending');
  }

  #trouble(text: string): void {
    this.#services.trouble(`${this.#kata.id}/${this.#name}: ${text}`);
  }
}
