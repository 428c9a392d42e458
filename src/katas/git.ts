import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { availableParallelism } from 'node:os';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import PQueue from 'p-queue';
import { KiB, MiB } from '../base/units.ts';
import { KatafleetError, messageOf } from '../model/errors.ts';

/**
 * Returns git's environment. Git reads no configuration of the machine, the user or the caller, asks no questions, and starts no
 * editor, pager or helper that a configuration names.
 */
export function gitEnvironment(): NodeJS.ProcessEnv {
  return {
    PATH: process.env['PATH'],
    LC_ALL: 'C',
    TZ: 'UTC',
    HOME: '/nonexistent',
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_CONFIG_GLOBAL: '/dev/null',
    GIT_ATTR_NOSYSTEM: '1',
    GIT_TERMINAL_PROMPT: '0',
    GIT_NO_REPLACE_OBJECTS: '1',
    GIT_OPTIONAL_LOCKS: '0',
  };
}

/** Settings of every call, which override the repository's own file; see git-config(1). */
const settings = {
  'core.hooksPath': '/dev/null',
  'core.fsync': 'all',
  'core.logAllRefUpdates': 'false',
  'core.fsmonitor': 'false',
  'core.attributesFile': '/dev/null',
  'core.protectHFS': 'true',
  'core.protectNTFS': 'true',
  // A larger content is streamed, not held in memory, and is never compared for a delta.
  'core.bigFileThreshold': '16m',
  'gc.auto': '0',
  'maintenance.auto': 'false',
  // fast-import keeps its pack: one file and its index need an fsync, where loose objects would be a dozen files.
  'fastimport.unpackLimit': '1',
  'pack.threads': '1',
  // Git fetches only from files that a call names.
  'protocol.allow': 'never',
  'protocol.file.allow': 'always',
  // The folder's owner does not matter: no hook runs and no setting of the repository is used.
  'safe.directory': '*',
};

export const gitSettings: readonly string[] = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);

export interface GitOptions {
  input?: Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array>;
  /** Most bytes of output before git is killed; 64 MiB if absent. */
  mostOutput?: number;
  /** Time limit (ms); 60 s if absent. */
  timeoutMs?: number;
  signal?: AbortSignal;
  env?: NodeJS.ProcessEnv;
}

const printedTooMuch = 'printed too much';

/** The error of a failed git command. */
export class GitFailed extends KatafleetError {
  readonly exit: number | null;
  readonly said: string;
  /** Whether it was killed because it printed too much. */
  readonly tooMuch: boolean;

  constructor(verb: string, exit: number | null, said: string, why?: string) {
    super('kata.git', `git ${verb} ${why ?? `ended with ${exit ?? 'a signal'}`}${said === '' ? '' : `: ${said}`}`);
    this.exit = exit;
    this.said = said;
    this.tooMuch = why === printedTooMuch;
  }
}

/** Runs git, with a bounded number of processes at once. */
export class Git {
  readonly #queue: PQueue;

  /** @param processes number at once; if absent, twice the CPUs and at least eight, because git mostly waits for the disk */
  constructor(processes = Math.max(8, 2 * availableParallelism())) {
    this.#queue = new PQueue({ concurrency: processes });
  }

  /** Runs git and returns its output. @throws kata.git; the signal's reason */
  async run(repository: string, args: readonly string[], options: GitOptions = {}): Promise<Buffer> {
    return this.#queue.add(() => execute([`--git-dir=${repository}`, ...args], options), {
      ...(options.signal ? { signal: options.signal } : {}),
    });
  }

  /** Holds a place among the processes for a long task, such as serving a clone. */
  hold<T>(body: () => Promise<T>): Promise<T> {
    return this.#queue.add(body);
  }
}

async function execute(args: readonly string[], options: GitOptions): Promise<Buffer> {
  const { input = new Uint8Array(), mostOutput = 64 * MiB, timeoutMs = 60_000, signal, env } = options;
  const verb = args.find((arg) => !arg.startsWith('-')) ?? '';
  const child = spawn('git', [...gitSettings, ...args], { stdio: 'pipe', env: { ...gitEnvironment(), ...env } });
  let stop: string | undefined;
  const kill = (why: string) => {
    stop ??= why;
    child.kill('SIGKILL');
  };
  const late = setTimeout(() => kill(`took longer than ${timeoutMs} ms`), timeoutMs);
  const aborted = () => kill('was cancelled');
  signal?.addEventListener('abort', aborted, { once: true });
  try {
    const ended = once(child, 'close').catch((cause: unknown) => {
      throw new KatafleetError('kata.git', `git can't be started: ${messageOf(cause)}`, {
        cause,
        hint: 'katas are kept with git: install it',
      });
    });
    const [output, errors] = [
      collect(child.stdout, mostOutput, () => kill(printedTooMuch)),
      collect(child.stderr, 64 * KiB, () => undefined),
    ];
    const source =
      input instanceof Uint8Array ? Readable.from([input], { objectMode: false }) : Readable.from(input, { objectMode: false });
    // If git ends early, it closes its input; its exit code has the reason.
    const fed = pipeline(source, child.stdin).catch((error: unknown) => error);
    const [exit] = (await ended) as [number | null];
    const fault = await fed;
    if (exit !== 0 || stop !== undefined) throw new GitFailed(verb, exit, (await errors).toString('utf8').trim().slice(0, 2_000), stop);
    if (fault instanceof Error) throw fault;
    return await output;
  } finally {
    clearTimeout(late);
    signal?.removeEventListener('abort', aborted);
  }
}

async function collect(stream: NodeJS.ReadableStream, most: number, onTooMuch: () => void): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > most) onTooMuch();
    else chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
