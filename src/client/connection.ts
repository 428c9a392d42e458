import { z } from 'zod';
import { within } from '../base/deadline.ts';
import { type ErrorCode, errorKinds, KatafleetError, messageOf } from '../model/errors.ts';
import { faultsOf } from '../model/faults.ts';
import { RunFailure } from '../model/record.ts';

/** Longest time for an answer, the time that the server was asked to wait included, ms. */
const answerMs = 30_000;
/** Longest time for the answer to whether a katafleet is there, ms. */
const liveMs = 1_000;

/** One call of the API. */
export interface Call {
  body?: object;
  headers?: Record<string, string>;
  /** Ends the call. */
  signal?: AbortSignal | undefined;
}

const ErrorAnswer = z.object({ error: z.object({ ...RunFailure.shape, retryAfterMs: z.number().exactOptional() }) });

/** Calls a katafleet that serves, and checks what it answers. */
export class Connection {
  readonly url: string;
  readonly #fetch: typeof fetch;

  constructor(url: string, ask: typeof fetch = fetch) {
    this.url = url.replace(/\/+$/, '');
    this.#fetch = ask;
  }

  /** Whether a katafleet answers there within a second. */
  async answers(): Promise<boolean> {
    try {
      const { ok, text } = await this.#ask(liveMs, 'GET', '/health/live', {});
      return ok && (JSON.parse(text) as { live?: boolean }).live === true;
    } catch {
      return false; // no answer, or another program's
    }
  }

  /**
   * Calls and returns the answer, parsed by `schema`.
   * @throws the error that the server answers with; server.unreachable if no katafleet answers, or one that this release does not
   * understand; the signal's reason
   */
  async call<T extends z.ZodType>(method: 'GET' | 'POST' | 'DELETE', path: string, schema: T, call: Call = {}): Promise<z.output<T>> {
    const { status, ok, text } = await this.#reached(method, path, call);
    const answer = jsonOf(text);
    const failed = ok ? undefined : ErrorAnswer.safeParse(answer).data?.error;
    if (failed) throw errorOf(failed);
    if (!ok || answer === undefined)
      throw new KatafleetError('server.unreachable', `the server at ${this.url} is not a katafleet (it answers with status ${status})`);
    const parsed = schema.safeParse(answer);
    if (parsed.success) return parsed.data;
    const what = `${method} ${path} in a way that this katafleet does not understand`;
    throw new KatafleetError('server.unreachable', `the server at ${this.url} answers ${what}: ${faultsOf(parsed.error, 'answer')}`, {
      cause: parsed.error,
      hint: 'use the same release on both sides',
    });
  }

  async #reached(method: string, path: string, call: Call): Promise<Answer> {
    try {
      return await this.#ask(answerMs, method, path, call);
    } catch (cause) {
      call.signal?.throwIfAborted();
      const why = cause instanceof Error && cause.cause ? messageOf(cause.cause) : messageOf(cause);
      throw new KatafleetError('server.unreachable', `no katafleet answers at ${this.url} (${why})`, {
        cause,
        hint: 'start it with katafleet serve, or give its address with --server or KATAFLEET_SERVER',
      });
    }
  }

  #ask(ms: number, method: string, path: string, { body, headers = {}, signal }: Call): Promise<Answer> {
    const sent =
      body === undefined ? { headers } : { headers: { ...headers, 'content-type': 'application/json' }, body: JSON.stringify(body) };
    const ask = async (ending: AbortSignal): Promise<Answer> => {
      const response = await this.#fetch(`${this.url}${path}`, { method, ...sent, signal: ending });
      return { status: response.status, ok: response.ok, text: await response.text() };
    };
    return within(ms, ask, { signals: [signal] });
  }
}

interface Answer {
  status: number;
  ok: boolean;
  text: string;
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The error that a server answers with, or that a run failed with. A code that this release does not know becomes `internal`. */
export function errorOf({ code, message, ...more }: z.output<typeof ErrorAnswer>['error']): KatafleetError {
  return new KatafleetError(Object.hasOwn(errorKinds, code) ? (code as ErrorCode) : 'internal', message, more);
}
