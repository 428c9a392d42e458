import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { eventually } from './eventually.ts';

const groups = '/sys/fs/cgroup';

/** A control group with a memory limit, for processes that a test starts in it. */
export class MemoryGroup implements AsyncDisposable {
  readonly #folder: string;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  /** Makes a group of version 1 or 2; undefined if neither is possible. */
  static make(bytes: number): MemoryGroup | undefined {
    for (const [base, file] of [
      [join(groups, 'memory'), 'memory.limit_in_bytes'],
      [groups, 'memory.max'],
    ] as const) {
      const folder = join(base, `katafleet-test-${process.pid}`);
      try {
        mkdirSync(folder);
      } catch {
        continue; // this version is not mounted, or we may not use it
      }
      try {
        writeFileSync(join(folder, file), String(bytes));
        return new MemoryGroup(folder);
      } catch {
        rmdirSync(folder); // the group can't limit memory
      }
    }
    return undefined;
  }

  /** The words that start a command in it. */
  get command(): string[] {
    return ['sh', '-c', 'echo $$ > "$0" && exec "$@"', join(this.#folder, 'cgroup.procs')];
  }

  /** Whether it has a living process. */
  get lives(): boolean {
    return readFileSync(join(this.#folder, 'cgroup.procs'), 'utf8') !== '';
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // The kernel takes a moment to see that a group is empty.
    await eventually('the control group is empty', 10, () => {
      rmdirSync(this.#folder);
      return Promise.resolve();
    });
  }
}
