import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import { atExit } from '../../support/at-exit.ts';
import { compiled } from './compiled.ts';
import type { Figures, Held, Question, Reply } from './meter.ts';

/** CPU time of a process, of its main thread, and of the busiest of its other threads, ms: a journal's, if the process has one. */
export interface CpuTime {
  all: number;
  main: number;
  busiest: number;
}

/** Ticks of the kernel's clock in a second, as /proc counts them: 100 on every Linux that Node knows. */
const ticks = 100;

/** CPU time of a process so far, by what the kernel counts. */
export function cpuOf(pid: number): CpuTime {
  const used = (file: string) => {
    const [, rest = ''] = readFileSync(file, 'latin1').split(') ');
    const fields = rest.split(' ');
    return ((Number(fields[11]) + Number(fields[12])) / ticks) * 1_000;
  };
  const threads = readdirSync(`/proc/${pid}/task`).filter((thread) => Number(thread) !== pid);
  return {
    all: used(`/proc/${pid}/stat`),
    main: used(`/proc/${pid}/task/${pid}/stat`),
    busiest: Math.max(0, ...threads.map((thread) => used(`/proc/${pid}/task/${thread}/stat`))),
  };
}

/** How many descriptors a process has open. */
export const descriptorsOf = (pid: number): number => readdirSync(`/proc/${pid}/fd`).length;

/** A child process that prints a line when it is ready, and is ended with this one. */
export class Child implements AsyncDisposable {
  readonly process: ChildProcess;
  readonly pid: number;
  /** The line. */
  readonly said: string;
  readonly log: string[];
  readonly #forget: () => void;

  private constructor(child: ChildProcess, said: string, log: string[], forget: () => void) {
    this.process = child;
    this.pid = child.pid ?? assert.fail('the process has no id');
    this.said = said;
    this.log = log;
    this.#forget = forget;
  }

  static async start(words: readonly string[], env: NodeJS.ProcessEnv = process.env): Promise<Child> {
    const child = spawn(process.execPath, words, { stdio: ['ignore', 'pipe', 'pipe', 'ipc'], env });
    const forget = atExit(() => child.kill('SIGKILL'));
    const log: string[] = [];
    assert.ok(child.stderr && child.stdout);
    createInterface(child.stderr).on('line', (line) => {
      log.push(line);
      if (log.length > 1_000) log.splice(0, 500);
    });
    const died = once(child, 'exit').then(() => assert.fail(`${words.join(' ')} ended:\n${log.join('\n')}`));
    died.catch(() => undefined);
    const [line] = (await Promise.race([once(createInterface(child.stdout), 'line'), died])) as [string];
    return new Child(child, line, log, forget);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { process: child } = this;
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGTERM');
      const late = setTimeout(() => child.kill('SIGKILL'), 60_000);
      await once(child, 'exit');
      clearTimeout(late);
    }
    this.#forget();
  }
}

/** A server that answers the questions of load/meter.ts, with a configuration and a journal in a folder of its own. */
export class MeasuredServer implements AsyncDisposable {
  readonly url: string;
  readonly child: Child;
  readonly #folder: string;

  private constructor(url: string, child: Child, folder: string) {
    this.url = url;
    this.child = child;
    this.#folder = folder;
  }

  /** @param words make node run the server, given the path of its configuration; @param folder has its journal already */
  static async start(
    config: object,
    words: (config: string) => readonly string[],
    { folder, node = [] }: { folder?: string | undefined; node?: readonly string[] } = {},
  ): Promise<MeasuredServer> {
    const home = folder ?? (await mkdtemp(join(tmpdir(), 'katafleet-bench-')));
    const file = join(home, 'katafleet.yaml');
    const whole = { journal: { file: 'journal.db' }, katas: { folder: 'katas' }, server: { listen: '127.0.0.1:0' }, ...config };
    await writeFile(file, JSON.stringify(whole)); // YAML is a superset of JSON
    const meter = pathToFileURL(await compiled('meter')).href;
    const child = await Child.start(['--expose-gc', ...node, '--import', meter, ...words(file)]);
    const url = /http:\S+/.exec(child.said)?.[0] ?? assert.fail(`the server said ${child.said}`);
    return new MeasuredServer(url, child, home);
  }

  async #ask(question: Question): Promise<Reply> {
    const answer = once(this.child.process, 'message');
    this.child.process.send(question);
    return ((await answer) as [Reply])[0];
  }

  async figures(): Promise<Figures> {
    const reply = await this.#ask('figures');
    return reply.question === 'figures' ? reply.figures : assert.fail(reply.question);
  }

  async held(): Promise<Held> {
    const reply = await this.#ask('held');
    return reply.question === 'held' ? reply.held : assert.fail(reply.question);
  }

  cpu(): CpuTime {
    return cpuOf(this.child.pid);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.child[Symbol.asyncDispose]();
    await rm(this.#folder, { recursive: true, force: true });
  }
}
