import { type ErrorCode, errorKinds, KatafleetError, messageOf } from '../model/errors.ts';

/** How long a server may take to answer what needs no waiting, ms. */
const answerMs = 30_000;

/** A running katafleet, asked over HTTP. */
export class ServerClient {
  readonly url: string;

  constructor(url: string) {
    this.url = url.replace(/\/+$/, '');
  }

  /** Whether one answers there. */
  async answers(): Promise<boolean> {
    try {
      const response = await fetch(`${this.url}/health/live`, { signal: AbortSignal.timeout(1_000) });
      return response.ok && ((await response.json()) as { live?: boolean }).live === true;
    } catch {
      return false; // whether nobody or somebody else is there makes no difference
    }
  }

  /** @throws server.unreachable, and what the server's answer says */
  async call<T>(method: 'GET' | 'POST' | 'DELETE', path: string, body?: object): Promise<T> {
    let response: Response;
    try {
      response = await fetch(`${this.url}${path}`, {
        method,
        ...(body === undefined ? {} : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
        signal: AbortSignal.timeout(answerMs),
      });
    } catch (cause) {
      const why = cause instanceof Error && cause.cause ? messageOf(cause.cause) : messageOf(cause);
      throw new KatafleetError('server.unreachable', `no katafleet answers at ${this.url} (${why})`, {
        cause,
        hint: 'start it with katafleet serve, or say where it is with --server or KATAFLEET_SERVER',
      });
    }
    const answer: unknown = await response.json().catch(() => undefined); // whatever is no JSON is no katafleet, told below
    if (response.ok && answer !== undefined) return answer as T;
    const { error } = (answer ?? {}) as { error?: { code: string; message: string; hint?: string } };
    if (!error) throw new KatafleetError('server.unreachable', `what answers at ${this.url} is no katafleet (status ${response.status})`);
    const code = error.code in errorKinds ? (error.code as ErrorCode) : 'internal';
    throw new KatafleetError(code, error.message, error.hint === undefined ? {} : { hint: error.hint });
  }
}
