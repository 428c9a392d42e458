import type { KeptRecord, RunRecord, RunSummary } from '../model/record.ts';
import type { RunRequest } from '../model/request.ts';
import type { AcceptedRun } from '../model/run-store.ts';
import type { RunJournal } from './service.ts';

/**
 * The store of runs that end with their process: it keeps what is live, and forgets a run at its end. Runs with equal keys are joined
 * while the first of them is live.
 */
export class MemoryStore implements RunJournal {
  readonly takes = true;
  readonly #runs = new Map<string, AcceptedRun>();
  readonly #keys = new Map<string, string>();

  onTakes(): void {
    // It always takes.
  }

  accept(run: AcceptedRun): Promise<{ id: string; known: boolean }> {
    const there = run.key === undefined ? undefined : this.#keys.get(keyOf(run.tenant, run.key));
    if (there !== undefined) return Promise.resolve({ id: there, known: true });
    this.#runs.set(run.id, run);
    if (run.key !== undefined) this.#keys.set(keyOf(run.tenant, run.key), run.id);
    return Promise.resolve({ id: run.id, known: false });
  }

  known(tenant: string, key: string): Promise<string | undefined> {
    return Promise.resolve(this.#keys.get(keyOf(tenant, key)));
  }

  begin(): Promise<void> {
    return Promise.resolve();
  }

  lost(id: string): Promise<boolean> {
    return Promise.resolve(this.#runs.has(id));
  }

  stopped(id: string): Promise<boolean> {
    return this.#forget(id);
  }

  finish(id: string): Promise<boolean> {
    return this.#forget(id);
  }

  fail(id: string): Promise<boolean> {
    return this.#forget(id);
  }

  cancel(id: string): Promise<boolean> {
    return this.#forget(id);
  }

  #forget(id: string): Promise<boolean> {
    const run = this.#runs.get(id);
    if (run?.key !== undefined) this.#keys.delete(keyOf(run.tenant, run.key));
    return Promise.resolve(this.#runs.delete(id));
  }

  summary(id: string): Promise<RunSummary | undefined> {
    return this.get(id);
  }

  look(id: string): Promise<KeptRecord | undefined> {
    return this.get(id);
  }

  get(id: string): Promise<RunRecord | undefined> {
    const run = this.#runs.get(id);
    if (!run) return Promise.resolve(undefined);
    const { tenant, placing, request, at } = run;
    return Promise.resolve({ id, tenant, placing, image: request.image, state: 'waiting', acceptedAt: at, attempts: [] });
  }

  request(id: string): Promise<RunRequest | undefined> {
    return Promise.resolve(this.#runs.get(id)?.request);
  }

  resultBytes(): Promise<number> {
    return Promise.resolve(0);
  }

  unfinished() {
    return Promise.resolve({ runs: [] });
  }
}

const keyOf = (tenant: string, key: string) => JSON.stringify([tenant, key]);
