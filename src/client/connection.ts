import { z } from 'zod';
import { abortable } from '../base/deadline.ts';
import { KiB, MiB } from '../base/units.ts';
import { KatafleetError, knownCode, messageOf } from '../model/errors.ts';
import { faultsOf } from '../model/faults.ts';
import { RunFailure } from '../model/record.ts';
import { type Answer, readAnswer } from './answer.ts';
import { retryAfter, CallTrouble } from './trouble.ts';

/** How long a server may be silent, ms: before its answer begins, and within it. The time that it was asked to wait comes on top. */
const silentMs = 30_000;
/** A body may take this much longer before the answer begins, bytes a ms; the server itself gives a body 120 s at most. */
const bodyPace = { bytesPerMs: 64, mostMs: 120_000 };
/** Longest time for the answer to whether a katafleet is there, ms. */
const liveMs = 1_000;
/** Most bytes of an answer without a run's result. */
const mostPlain = 64 * MiB;
/** Most bytes of an answer: V8 makes no longer text. */
export const mostBytes = 512 * MiB - 64 * KiB;
/** A proxy answers so if the katafleet behind it is away. */
const awayStatuses: readonly number[] = [502, 503, 504];

/** One call of the API. */
export interface Call {
  body?: object;
  headers?: Record<string, string>;
  /** Ends the call. */
  signal?: AbortSignal | undefined;
  /** How long the server was asked to wait, s. */
  wait?: number;
  /** Most bytes of the answer. */
  most?: number;
}

const ErrorAnswer = z.object({
  error: z.object({ ...RunFailure.shape, retry: z.boolean().exactOptional(), retryAfterMs: z.number().exactOptional() }),
});

/** Calls a katafleet that serves, and checks what it answers. */
export class Connection {
  readonly url: string;
  readonly #fetch: typeof fetch;
  #met = false;

  constructor(url: string, ask: typeof fetch = fetch) {
    this.url = url.replace(/\/+$/, '');
    this.#fetch = ask;
  }

  /** Whether a katafleet has ever answered. */
  get met(): boolean {
    return this.#met;
  }

  /** Whether a katafleet answers there within a second. */
  async answers(): Promise<boolean> {
    try {
      const { ok, bytes } = await this.#ask(liveMs, 'GET', '/health/live', {});
      return ok && (JSON.parse(bytes.toString('utf8')) as { live?: boolean }).live === true;
    } catch {
      return false; // no answer, or another program's
    }
  }

  /**
   * Calls and returns the answer, parsed by `schema`.
   * @throws the error that the server answers with; server.unreachable if no katafleet answers, or one that this release does not
   * understand; answer.too_large; the signal's reason. Those that may pass are {@link CallTrouble}s.
   */
  async call<T extends z.ZodType>(method: 'GET' | 'POST' | 'DELETE', path: string, schema: T, call: Call = {}): Promise<z.output<T>> {
    return this.#read(await this.#reached(method, path, call), method, path, schema);
  }

  #read<T extends z.ZodType>({ status, ok, bytes, retryAfter: header }: Answer, method: string, path: string, schema: T): z.output<T> {
    const answer = jsonOf(bytes.toString('utf8'));
    const failed = ok ? undefined : ErrorAnswer.safeParse(answer).data?.error;
    if (failed) {
      this.#met = true;
      const { retry, ...error } = failed;
      throw errorOf(error, { passing: retry ?? false, afterMs: error.retryAfterMs ?? retryAfter(header) });
    }
    if (!ok || answer === undefined) {
      const facts = { passing: awayStatuses.includes(status), arrived: true, afterMs: retryAfter(header) };
      throw new CallTrouble('server.unreachable', `the server at ${this.url} is not a katafleet (it answers with status ${status})`, facts);
    }
    this.#met = true;
    const parsed = schema.safeParse(answer);
    if (parsed.success) return parsed.data;
    const what = `${method} ${path} in a way that this katafleet does not understand`;
    throw new KatafleetError('server.unreachable', `the server at ${this.url} answers ${what}: ${faultsOf(parsed.error, 'answer')}`, {
      cause: parsed.error,
      hint: 'use the same release on both sides',
    });
  }

  /** Calls and returns the answer's bytes. @throws as {@link call} */
  async bytes(path: string, call: Call = {}): Promise<Buffer> {
    const answer = await this.#reached('GET', path, call);
    if (answer.ok) return answer.bytes;
    return this.#read(answer, 'GET', path, z.never());
  }

  async #reached(method: string, path: string, call: Call): Promise<Answer> {
    try {
      return await this.#ask(silentMs, method, path, call);
    } catch (cause) {
      call.signal?.throwIfAborted();
      if (cause instanceof KatafleetError) throw cause;
      const reason = cause instanceof Error && cause.cause ? cause.cause : cause;
      const facts = { passing: true, arrived: !neverSent.has(String((reason as { code?: unknown }).code)) };
      throw new CallTrouble('server.unreachable', `no katafleet answers at ${this.url} (${messageOf(reason)})`, facts, {
        cause,
        hint: 'start it with katafleet serve, or give its address with --server or KATAFLEET_SERVER',
      });
    }
  }

  /** @param ms longest silence */
  async #ask(ms: number, method: string, path: string, { body, headers = {}, signal, wait = 0, most = mostPlain }: Call): Promise<Answer> {
    const text = body === undefined ? undefined : JSON.stringify(body);
    const sent = text === undefined ? { headers } : { headers: { ...headers, 'content-type': 'application/json' }, body: text };
    const sendMs = Math.min(bodyPace.mostMs, (text?.length ?? 0) / bodyPace.bytesPerMs);
    const ending = new AbortController();
    const end = (reason: Error) => ending.abort(reason);
    const leave = () => end(signal?.reason as Error);
    let timer = setTimeout(end, ms + sendMs + wait * 1_000, silent(ms));
    signal?.addEventListener('abort', leave, { once: true });
    try {
      signal?.throwIfAborted();
      const response = await abortable(ending.signal, this.#fetch(`${this.url}${path}`, { method, ...sent, signal: ending.signal }));
      const alive = () => {
        clearTimeout(timer);
        timer = setTimeout(end, ms, silent(ms));
      };
      alive();
      return await abortable(ending.signal, readAnswer(response, most, alive));
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', leave);
    }
  }
}

const silent = (ms: number) => new Error(`the server was silent for ${ms} ms`);

/** Errors of a call of which not a byte was sent. */
const neverSent: ReadonlySet<string> = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'UND_ERR_CONNECT_TIMEOUT',
]);

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The error that a server answers with, or that a run failed with. A code that this release does not know becomes `internal`. */
export function errorOf(
  { code, message, ...more }: z.output<typeof RunFailure> & { retryAfterMs?: number },
  { passing, afterMs }: { passing: boolean; afterMs?: number | undefined } = { passing: false },
): KatafleetError {
  return new CallTrouble(knownCode(code), message, { passing, arrived: true, afterMs }, more);
}
