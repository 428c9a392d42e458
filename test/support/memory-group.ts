import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { eventually } from './eventually.ts';

const groups = '/sys/fs/cgroup';

/** A control group that bounds memory, for processes that a test starts in it. */
export class MemoryGroup implements AsyncDisposable {
  readonly #folder: string;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  /** Of version 1 or 2; undefined where none can be made. */
  static make(bytes: number): MemoryGroup | undefined {
    for (const [base, file] of [
      [join(groups, 'memory'), 'memory.limit_in_bytes'],
      [groups, 'memory.max'],
    ] as const) {
      const folder = join(base, `katafleet-test-${process.pid}`);
      try {
        mkdirSync(folder);
      } catch {
        continue; // not this version, or not for us
      }
      try {
        writeFileSync(join(folder, file), String(bytes));
        return new MemoryGroup(folder);
      } catch {
        rmdirSync(folder); // a group that bounds no memory
      }
    }
    return undefined;
  }

  /** What starts a command in it. */
  get command(): string[] {
    return ['sh', '-c', 'echo $$ > "$0" && exec "$@"', join(this.#folder, 'cgroup.procs')];
  }

  /** Whether a process of it lives. */
  get lives(): boolean {
    return readFileSync(join(this.#folder, 'cgroup.procs'), 'utf8') !== '';
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // The kernel takes its time to see that a group is empty.
    await eventually('the control group is empty', 10, () => {
      rmdirSync(this.#folder);
      return Promise.resolve();
    });
  }
}
