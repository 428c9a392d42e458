import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { availableParallelism } from 'node:os';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import PQueue from 'p-queue';
import { KiB, MiB } from '../base/units.ts';
import { KatafleetError, messageOf } from '../model/errors.ts';

/**
 * What git is told of the world: nothing of the machine's, the user's or the caller's configuration, no prompt, and no
 * editor, pager or helper that any of them could name.
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

/** Settings that hold for every call, whatever a repository's own file says; see git-config(1). */
const settings = {
  'core.hooksPath': '/dev/null',
  'core.fsync': 'all',
  'core.logAllRefUpdates': 'false',
  'core.fsmonitor': 'false',
  'core.attributesFile': '/dev/null',
  'core.protectHFS': 'true',
  'core.protectNTFS': 'true',
  // A content above this is streamed rather than held in memory, and never compared for a delta.
  'core.bigFileThreshold': '16m',
  'gc.auto': '0',
  'maintenance.auto': 'false',
  // fast-import keeps its pack: one file and its index to fsync, where loose objects would be a dozen.
  'fastimport.unpackLimit': '1',
  'pack.threads': '1',
  // Nothing is fetched from anywhere but a file that we name.
  'protocol.allow': 'never',
  'protocol.file.allow': 'always',
  // Who owns the folder says nothing here: no hook runs and no setting of the repository's is followed.
  'safe.directory': '*',
};

export const gitSettings: readonly string[] = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);

export interface GitOptions {
  input?: Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array>;
  /** More output than this ends it, bytes; 64 MiB if absent. */
  mostOutput?: number;
  /** Longest time from its start, ms; 60 s if absent. */
  timeoutMs?: number;
  signal?: AbortSignal;
  env?: NodeJS.ProcessEnv;
}

const printedTooMuch = 'printed too much';

/** Git said no. */
export class GitFailed extends KatafleetError {
  readonly exit: number | null;
  readonly said: string;
  /** It was ended because it printed more than was asked for. */
  readonly tooMuch: boolean;

  constructor(verb: string, exit: number | null, said: string, why?: string) {
    super('kata.git', `git ${verb} ${why ?? `ended with ${exit ?? 'a signal'}`}${said === '' ? '' : `: ${said}`}`);
    this.exit = exit;
    this.said = said;
    this.tooMuch = why === printedTooMuch;
  }
}

/** Runs git, a bounded number of processes at once. */
export class Git {
  readonly #queue: PQueue;

  /** @param processes at once; twice the CPUs and at least eight if absent: most of their time is the disk's */
  constructor(processes = Math.max(8, 2 * availableParallelism())) {
    this.#queue = new PQueue({ concurrency: processes });
  }

  /** What git printed. @throws kata.git; rejects by the signal */
  async run(repository: string, args: readonly string[], options: GitOptions = {}): Promise<Buffer> {
    return this.#queue.add(() => execute([`--git-dir=${repository}`, ...args], options), {
      ...(options.signal ? { signal: options.signal } : {}),
    });
  }

  /** Holds one of the places among the processes for something that lasts, such as serving a clone. */
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
    // A git that ends early closes its end; its exit code tells why.
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
