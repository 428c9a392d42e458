import cron, { type ScheduledTask } from 'node-cron';
import { messageOf } from '../../model/errors.ts';
import type { MaintenanceState } from '../../model/maintenance-state.ts';
import type { NodeStore } from '../../model/run-store.ts';

/** A job that runs on a schedule. */
export interface MaintenanceJob {
  name: string;
  what: string;
  /** Five or six fields of cron, in the machine's time zone. If undefined, the job never runs by itself. */
  schedule: string | undefined;
  /** Does the job, or with `dryRun` only looks. Returns a sentence on what it did or would do. */
  run: (dryRun: boolean) => Promise<string>;
}

/** Remembers jobs; the store implements it. Times are Unix ms. */
export type MaintenanceMemory = Pick<NodeStore, 'maintenance' | 'maintenanceStarted' | 'maintenanceEnded'>;

/** Runs jobs on schedules. Never runs the same job twice at once. A jitter keeps many katafleets from running a job at the same time. */
export class Maintenance {
  readonly #jobs: ReadonlyMap<string, MaintenanceJob>;
  readonly #memory: MaintenanceMemory;
  readonly #onTrouble: (message: string) => void;
  readonly #tasks = new Map<string, ScheduledTask>();
  readonly #running = new Map<string, Promise<string>>();

  constructor(jobs: readonly MaintenanceJob[], memory: MaintenanceMemory, onTrouble: (message: string) => void) {
    this.#jobs = new Map(jobs.map((job) => [job.name, job]));
    this.#memory = memory;
    this.#onTrouble = onTrouble;
  }

  /** Starts the schedules. Jobs that an earlier process left unfinished are recorded as failed. */
  async start(jitterMs: number): Promise<void> {
    for (const { name, schedule } of this.#jobs.values()) {
      if (schedule === undefined) continue;
      const options = { name, noOverlap: true, maxRandomDelay: jitterMs, unref: true, suppressMissedWarning: true };
      const task = cron.schedule(schedule, () => this.run(name).catch(() => undefined), options); // run has reported it
      this.#tasks.set(name, task);
    }
    for (const name of this.names) {
      if (this.#running.has(name) || (await this.#memory.maintenance(name))?.outcome !== 'running') continue;
      await this.#memory.maintenanceEnded(name, Date.now(), false, 'katafleet ended in the middle of it');
    }
  }

  has(name: string): boolean {
    return this.#jobs.has(name);
  }

  get names(): string[] {
    return [...this.#jobs.keys()];
  }

  /** Does a job now, or waits for the same job under way. A dry run changes nothing and is not recorded. @throws what the job throws */
  run(name: string, dryRun = false): Promise<string> {
    const job = this.#jobs.get(name);
    if (!job) return Promise.reject(new Error(`no job ${name}`));
    if (dryRun) return job.run(true);
    let run = this.#running.get(name);
    if (!run) {
      run = this.#run(job).finally(() => this.#running.delete(name));
      this.#running.set(name, run);
    }
    return run;
  }

  async #run(job: MaintenanceJob): Promise<string> {
    const noted = this.#memory.maintenanceStarted(job.name, Date.now());
    noted.catch(() => undefined); // it is waited for below
    try {
      const detail = await job.run(false);
      await noted;
      await this.#memory.maintenanceEnded(job.name, Date.now(), true, detail);
      return detail;
    } catch (error) {
      await this.#memory.maintenanceEnded(job.name, Date.now(), false, messageOf(error));
      this.#onTrouble(`maintenance ${job.name}: ${messageOf(error)}`);
      throw error;
    }
  }

  states(): Promise<MaintenanceState[]> {
    return Promise.all(
      Array.from(this.#jobs.values(), async ({ name, what, schedule }) => ({
        name,
        what,
        schedule,
        running: this.#running.has(name),
        next: this.#tasks.get(name)?.getNextRun()?.getTime(),
        ...(await this.#memory.maintenance(name)),
      })),
    );
  }

  /** Waits for the job under way. */
  async stop(): Promise<void> {
    for (const task of this.#tasks.values()) await task.destroy();
    this.#tasks.clear();
    await Promise.allSettled(this.#running.values());
  }
}
