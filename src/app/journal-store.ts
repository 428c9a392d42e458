/* eslint-disable @typescript-eslint/require-await -- promises over calls that return at once */
import type { AcceptedRun, AttemptPlace } from '../model/run-store.ts';
import type { RunFailure } from '../model/record.ts';
import type { RunRequest } from '../model/request.ts';
import type { RunResult } from '../model/result.ts';
import type { RunJournal } from '../runs/service.ts';
import { Owed } from '../runs/room/owed.ts';
import type { Journal } from '../store/journal.ts';

/** A journal with the store's asynchronous interface. Writes that the disk does not take are owed and written again. */
export class JournalStore implements RunJournal {
  readonly #journal: Journal;
  readonly #owed: Owed;
  #listeners: (() => void)[] = [];

  constructor(journal: Journal, onTrouble?: (message: string) => void) {
    this.#journal = journal;
    this.#owed = new Owed(onTrouble);
  }

  get takes(): boolean {
    return this.#owed.takes;
  }

  onTakes(listener: () => void): void {
    this.#listeners.push(listener); // the queue looks by itself every tenth of a second
  }

  async accept(run: AcceptedRun): Promise<{ id: string; known: boolean }> {
    return this.#owed.now(() => this.#journal.accept(run));
  }

  async known(tenant: string, key: string, sent: object): Promise<string | undefined> {
    return this.#journal.known(tenant, key, sent);
  }

  async begin(id: string, attempt: number, where: AttemptPlace, at: number): Promise<void> {
    await this.#write(id, () => (this.#journal.begin(id, attempt, where, at), true));
  }

  lost(id: string, attempt: number, reason: string, at: number): Promise<boolean> {
    return this.#write(id, () => this.#journal.lost(id, attempt, reason, at));
  }

  stopped(id: string, attempt: number, at: number): Promise<boolean> {
    return this.#write(id, () => this.#journal.stopped(id, attempt, at));
  }

  finish(id: string, attempt: number, result: RunResult, at: number): Promise<boolean> {
    return this.#write(id, () => this.#journal.finish(id, attempt, result, at));
  }

  fail(id: string, attempt: number | undefined, error: RunFailure, at: number): Promise<boolean> {
    return this.#write(id, () => this.#journal.fail(id, attempt, error, at));
  }

  cancel(id: string, at: number): Promise<boolean> {
    return this.#write(id, () => this.#journal.cancel(id, at));
  }

  async #write(id: string, write: () => boolean): Promise<boolean> {
    const answer = this.#owed.write(id, write);
    await this.#owed.settled(id);
    return answer;
  }

  async look(id: string) {
    return this.#journal.look(id);
  }

  async get(id: string) {
    return this.#journal.get(id);
  }

  async request(id: string): Promise<RunRequest | undefined> {
    return this.#journal.request(id);
  }

  async resultBytes(id: string) {
    return this.#journal.resultBytes(id);
  }

  async unfinished() {
    return { runs: [...this.#journal.unfinished()] };
  }

  close(): void {
    this.#owed.close();
  }
}
