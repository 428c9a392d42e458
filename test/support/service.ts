import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { NodeSummary } from '../../src/model/node.ts';
import { atExit } from './at-exit.ts';
import { command } from './command.ts';

const project = fileURLToPath(new URL('../../', import.meta.url));
/** Longest wait for `katafleet serve` to serve or to end, ms: its own grace is 20 s, that of a hanging node 30 s. */
const startMs = 60_000;
const stopMs = 60_000;

/** A run as the API shows it. */
export interface RunAnswer {
  id: string;
  state: 'waiting' | 'running' | 'finished' | 'failed' | 'cancelled';
  acceptedAt: number;
  endedAt?: number;
  attempts: { number: number; node: string; startedAt: number; endedAt?: number; state: string; reason?: string }[];
  result?: {
    node: string;
    attempt: number;
    warm: boolean;
    outcome: { kind: string; code?: number };
    steps: {
      outcome: { kind: string; code?: number };
      stdout: string;
      stderr: string;
      stdoutTail?: string;
      stdoutBytes: number;
      stderrBytes: number;
      stdoutCut: boolean;
      stderrCut: boolean;
    }[];
    changes: { files: { path: string; content: string }[] };
    timings: { totalMs: number };
  };
  error?: { code: string; message: string };
}

/** The API's error, instead of a result. */
export class ApiError extends Error {
  readonly status: number;

  constructor(status: number, body: string) {
    super(`the API answered ${status}: ${body}`);
    this.status = status;
  }
}

/** A running katafleet service. */
export class ApiClient {
  url: string;

  constructor(url: string) {
    this.url = url;
  }

  /** Makes one API call. @throws ApiError if the API answers with an error; TypeError if the server does not answer */
  async call<T>(method: 'GET' | 'POST' | 'DELETE', path: string, body?: object, headers: Record<string, string> = {}): Promise<T> {
    const response = await fetch(this.url + path, {
      method,
      headers: { ...headers, ...(body ? { 'content-type': 'application/json' } : {}) },
      ...(body ? { body: JSON.stringify(body) } : {}),
      signal: AbortSignal.timeout(120_000),
    });
    const text = await response.text();
    if (!response.ok) throw new ApiError(response.status, text);
    return JSON.parse(text) as T;
  }

  /** Submits a run and waits until it has ended. */
  async run(body: object, key?: string): Promise<RunAnswer> {
    return this.ended(await this.call<RunAnswer>('POST', '/v1/runs?wait=60', body, key === undefined ? {} : { 'idempotency-key': key }));
  }

  /** Waits until a run has ended and returns it. @throws after four minutes */
  async ended(run: RunAnswer): Promise<RunAnswer> {
    for (let asked = 0; run.endedAt === undefined; asked += 1) {
      assert.ok(asked < 4, `the run ${run.id} is still ${run.state}`);
      run = await this.call<RunAnswer>('GET', `/v1/runs/${run.id}?wait=60`);
    }
    return run;
  }

  async nodes(): Promise<Record<string, NodeSummary>> {
    const { nodes } = await this.call<{ nodes: NodeSummary[] }>('GET', '/v1/nodes');
    return Object.fromEntries(nodes.map((node) => [node.name, node]));
  }
}

/** `katafleet serve` as a process of its own, with a configuration and a journal in a folder that is removed with it. */
export class Service extends ApiClient implements AsyncDisposable {
  readonly #folder: string;
  readonly #command: readonly string[];
  #child: ChildProcess | undefined;
  readonly #log: string[] = [];
  readonly #forget: () => void;

  private constructor(folder: string, command: readonly string[]) {
    super('');
    this.#folder = folder;
    this.#command = command;
    this.#forget = atExit(() => {
      this.#child?.kill('SIGKILL'); // a hanging one must not outlive the tests
      rmSync(folder, { recursive: true, force: true });
    });
  }

  /** Starts it on a free loopback port, else as configured. @param words start katafleet */
  static async start(config: object, words: readonly string[] = command): Promise<Service> {
    const service = new Service(await mkdtemp(join(tmpdir(), 'katafleet-service-')), words);
    try {
      await service.configure(config);
      await service.start();
      return service;
    } catch (error) {
      await service[Symbol.asyncDispose]();
      throw error;
    }
  }

  get config(): string {
    return join(this.#folder, 'katafleet.yaml');
  }

  get journal(): string {
    return join(this.#folder, 'journal.db');
  }

  /** How it ended by itself: an exit code or a signal. Undefined while it runs, and after `kill` and `stop`. */
  get diedWith(): number | NodeJS.Signals | undefined {
    return this.#child?.exitCode ?? this.#child?.signalCode ?? undefined;
  }

  /** Its latest log, for a failure's message. */
  get log(): string {
    return this.#log.slice(-60).join('\n');
  }

  /** The process, for what it needs; undefined while it does not run. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Resolves when it serves requests. */
  async start(): Promise<void> {
    const [file, ...args] = [...this.#command, '--config', this.config, 'serve'];
    const child = spawn(file, args, { cwd: project, stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child = child;
    createInterface(child.stderr).on('line', (line) => this.#log.push(line));
    const lines = createInterface(child.stdout);
    const stop = new AbortController();
    const died = once(child, 'exit', { signal: stop.signal }).then(() => assert.fail(`katafleet serve ended at once:\n${this.log}`));
    const late = setTimeout(() => stop.abort(new Error(`katafleet serve said nothing within ${startMs} ms`)), startMs);
    const said = once(lines, 'line', { signal: stop.signal });
    try {
      const [line] = (await Promise.race([said, died])) as [string];
      this.url = /http:\S+/.exec(line)?.[0] ?? assert.fail(`katafleet serve said ${line}`);
    } finally {
      clearTimeout(late);
      stop.abort();
      for (const left of [said, died]) left.catch(() => undefined);
      lines.close();
      child.stdout.resume();
    }
  }

  /** Replaces its configuration and makes it read that. */
  async reload(config: object): Promise<void> {
    await this.configure(config);
    this.#child?.kill('SIGHUP');
  }

  /** Writes its configuration. */
  private async configure(config: object): Promise<void> {
    const whole = { journal: { file: 'journal.db' }, server: { listen: '127.0.0.1:0' }, ...config };
    await writeFile(this.config, JSON.stringify(whole)); // YAML is a superset of JSON
  }

  /** Ends it as a crash would. */
  async kill(): Promise<void> {
    await this.#end('SIGKILL');
  }

  /** Ends it as an administrator does; returns its exit code. */
  async stop(): Promise<number | null> {
    return this.#end('SIGTERM');
  }

  async #end(signal: NodeJS.Signals): Promise<number | null> {
    const child = this.#child;
    this.#child = undefined;
    if (!child || child.exitCode !== null || child.signalCode !== null) return child?.exitCode ?? null;
    const ended = once(child, 'exit');
    child.kill(signal);
    const late = setTimeout(() => child.kill('SIGKILL'), stopMs);
    await ended;
    clearTimeout(late);
    return child.exitCode;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#end('SIGTERM');
    await rm(this.#folder, { recursive: true });
    this.#forget();
  }
}
