import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { abortable } from '../base/deadline.ts';
import { defaults } from '../model/defaults.ts';
import { KatafleetError } from '../model/errors.ts';
import type { FleetImage } from '../model/fleet-image.ts';
import { RecordJson, recordFields } from '../model/json.ts';
import type { MaintenanceState } from '../model/maintenance-state.ts';
import { NodeDetail, type NodeEvent, NodeSummary } from '../model/node.ts';
import { encodePath } from '../model/paths.ts';
import { readState, type RunSummary } from '../model/record.ts';
import type { RunOptions } from '../model/request.ts';
import { type RemoteRequest, requestJson, type RunJson } from '../model/request-json.ts';
import type { RunResult } from '../model/result.ts';
import { requestFrom, type RunInput } from '../model/run-input.ts';
import { NodeVerdict } from '../model/verdict.ts';
import { type ViewAnswer, type ViewPath, type ViewQuery, views } from '../model/views.ts';
import { Connection, errorOf, mostBytes } from './connection.ts';
import { type EventQuery, readEvents, type RunEvents } from './events.ts';
import { Following } from './follow.ts';
import { Patience } from './patience.ts';
import { type OutputNotice, Told } from './told.ts';

export { type ErrorCode, KatafleetError } from '../model/errors.ts';
export type { FleetImage } from '../model/fleet-image.ts';
export type { Light } from '../model/lights.ts';
export type { MaintenanceState } from '../model/maintenance-state.ts';
export type * from '../model/node.ts';
export type * from '../model/outcome.ts';
export { omittedBytes, shownOutput } from '../model/output.ts';
export type { AttemptRecord, RunState, RunSummary } from '../model/record.ts';
export type { OnOutput, RunOptions, StepInput } from '../model/request.ts';
export type * from '../model/result.ts';
export type { RunEvent } from '../model/run-event.ts';
export type { FileInput, RunInput } from '../model/run-input.ts';
export type { NodeVerdict } from '../model/verdict.ts';
export type { EventQuery, RunEvents } from './events.ts';

/** A run with its state, its attempts and, once it has ended, its result or its error. */
export type Run = RecordJson;

/** A run that a server is asked for; absent fields have their defaults. */
export interface ServerRunInput
  extends Omit<RunInput, 'profile' | 'steps'>, Omit<RemoteRequest, 'profile' | 'steps' | 'files' | 'folders'> {
  /** One step's argv. Give either `command` or `steps`. */
  command?: readonly string[];
  steps?: RunInput['steps'];
  /** The name of a profile that the server has, or the limits that differ from its default profile. */
  profile?: RemoteRequest['profile'];
}

/** What happens on the way to a run's result. */
export type RunNotice =
  /** The server has the run. */
  | { kind: 'accepted'; id: string }
  /** A call failed in a way that may pass. It is made again, for `ms` at most. */
  | { kind: 'trouble'; error: KatafleetError; ms: number }
  /** The server answers again. */
  | { kind: 'again' }
  | OutputNotice;

export interface ServerRunOptions extends RunOptions {
  /**
   * 1 to 255 characters of Latin-1, as a header has them: the same key with the same request is the same run, however often it is sent. So a call that failed can
   * be made again without a second run. A random one if absent.
   */
  key?: string;
  /**
   * How long to go on trying while the server does not answer or has no room, ms, counted from the first failure in a row; 0: it fails
   * at once. 60,000 if absent. A server that has never answered this client is tried for 10 s at most.
   */
  patienceMs?: number;
  onNotice?: (notice: RunNotice) => void;
}

export interface ClientOptions {
  /** Makes the HTTP calls; Node's own `fetch` if absent. For a proxy, a unix socket or an own certificate authority. */
  fetch?: typeof fetch;
}

export interface CallOptions {
  /** Ends the call, not the run. */
  signal?: AbortSignal;
}

/** How long one call waits for a run's end or its next event, s. */
const waitSeconds = 20;
/** A server waits for the end of a run that is cancelled, s. */
const cancelSeconds = 30;
/** How long to try if the caller does not say; if no katafleet was ever there; and once the run is to be cancelled, ms. */
const patience = { usualMs: 60_000, unmetMs: 10_000, cancelMs: 10_000 };

/** Least time between two calls that wait for a run, ms: a proxy may answer each of them at once. */
const leastMs = 250;

/**
 * Calls a katafleet that serves. Every method throws the {@link KatafleetError} that the server answers with,
 * `server.unreachable` if no katafleet answers, and the reason of its signal.
 */
export class Client {
  readonly #server: Connection;

  /** Connects to nothing yet. @param url where `katafleet serve` listens, `http://HOST:PORT` */
  constructor(url = `http://127.0.0.1:${defaults.ports.api}`, { fetch: ask }: ClientOptions = {}) {
    this.#server = new Connection(url, ask);
  }

  get url(): string {
    return this.#server.url;
  }

  /** Whether a katafleet answers there within a second. */
  answers(): Promise<boolean> {
    return this.#server.answers();
  }

  /**
   * Runs and returns the result. A program that fails, hangs or eats all memory is an outcome. The signal cancels the run: what it
   * printed before is kept, and its outcome is `cancelled`. `onOutput` is called as output comes; from a server that has no events of
   * runs (0.1), at the end. Calls that fail in ways that pass are made again, see {@link ServerRunOptions.patienceMs}.
   * @throws what made the run fail, such as placement.impossible; run.cancelled if it was cancelled before it began
   */
  async run(input: ServerRunInput, options: ServerRunOptions = {}): Promise<RunResult> {
    const { signal, onOutput, key = randomUUID(), onNotice } = options;
    signal?.throwIfAborted();
    const patient = this.#patience(options);
    const body = await bodyOf(input);
    let run = await patient.call(() => this.#submit(body, key, (signal ?? onOutput) ? 0 : waitSeconds));
    onNotice?.({ kind: 'accepted', id: run.id });
    // The run's record says whether it was cancelled.
    const cancel = () => void patient.call(() => this.cancel(run.id)).catch(() => undefined);
    if (signal?.aborted) cancel(); // while it was being accepted
    signal?.addEventListener('abort', cancel, { once: true });
    const told = onOutput && new Told(onOutput, (notice) => onNotice?.(notice));
    try {
      if (told && run.endedAt === undefined) await this.#follow(run.id, told, patient);
      while (run.endedAt === undefined) run = await patient.call(() => this.wait(run.id, { ms: waitSeconds * 1_000 }));
    } catch (error) {
      throw error instanceof KatafleetError ? stillThere(error, run.id) : error;
    } finally {
      signal?.removeEventListener('abort', cancel);
    }
    const { id, state, error, result } = run;
    if (result) await told?.complete(result);
    else told?.lost();
    if (!result) throw error ? errorOf(error) : new KatafleetError('run.cancelled', `the run ${id} is ${state}`);
    return result;
  }

  #patience({ signal, onNotice, patienceMs = patience.usualMs }: ServerRunOptions): Patience {
    return new Patience({
      ms: () => {
        const most = this.#server.met ? patienceMs : Math.min(patienceMs, patience.unmetMs);
        return signal?.aborted ? Math.min(most, patience.cancelMs) : most;
      },
      signal,
      onTrouble: (error, ms) => onNotice?.({ kind: 'trouble', error, ms }),
      onAgain: () => onNotice?.({ kind: 'again' }),
    });
  }

  /** Follows the run until it has ended, or until the rest is better taken from its record. */
  async #follow(id: string, told: Told, patient: Patience): Promise<void> {
    const following = new Following(told, async () => (await patient.call(() => this.get(id))).endedAt !== undefined);
    for (let after: string | undefined; !following.over;) {
      const asked = performance.now();
      const query = { wait: waitSeconds, ...(after === undefined ? {} : { after }) };
      const page = await patient.call(() => this.runEvents(id, query)).catch(noEvents);
      if (!page) return;
      for (const event of page.events) await following.take(event);
      const pauseMs = page.events.length === 0 ? leastMs - (performance.now() - asked) : 0;
      if (pauseMs > 0) await sleep(pauseMs);
      after = page.next;
    }
  }

  /** Submits a run and returns it as soon as the server has accepted it; from then on a crash of the server does not lose it. */
  async submit(input: ServerRunInput, { signal, key }: CallOptions & Pick<ServerRunOptions, 'key'> = {}): Promise<Run> {
    return this.#submit(await bodyOf(input), key, 0, signal);
  }

  #submit(body: object, key: string | undefined, wait: number, signal?: AbortSignal): Promise<Run> {
    if (key !== undefined && !isKey.test(key))
      throw new KatafleetError('request.invalid', 'key: expected 1 to 255 characters of Latin-1, without a space at either end');
    const headers = key === undefined ? {} : { 'idempotency-key': key };
    return this.#server.call('POST', `/v1/runs?wait=${wait}`, RecordJson, { body, headers, signal, wait, most: mostBytes });
  }

  /** Returns a run as it is now. @throws run.unknown */
  get(id: string, { signal }: CallOptions = {}): Promise<Run> {
    return this.#server.call('GET', pathOf(id), RecordJson, { signal, most: mostBytes });
  }

  /** Returns the next events of a run, see docs/api.md. @throws run.unknown; request.unknown if the server has no events (0.1) */
  runEvents(id: string, query: EventQuery = {}): Promise<RunEvents> {
    return readEvents(this.#server, pathOf(id), query);
  }

  /**
   * Returns a file that a run has created or changed, or its bytes from `from` up to `to`, which is not among them.
   * @param path as the result has it
   * @throws run.unknown; request.unknown if no such file came back; request.range
   */
  file(id: string, path: string, { from = 0, to, signal }: CallOptions & { from?: number; to?: number } = {}): Promise<Buffer> {
    const range = from === 0 && to === undefined ? {} : { range: `bytes=${from}-${to === undefined ? '' : to - 1}` };
    const name = Array.from(encodePath(path), (byte) => (byte === 0x2f ? '/' : `%${byte.toString(16).padStart(2, '0')}`)).join('');
    return this.#server.bytes(`${pathOf(id)}/files/${name}`, { headers: range, signal, most: mostBytes });
  }

  /**
   * Waits until a run has ended, or for `ms` if that is less, and returns it as it is then. The signal ends the waiting and leaves
   * the run alone.
   * @throws run.unknown
   */
  async wait(id: string, { ms = Infinity, signal }: CallOptions & { ms?: number } = {}): Promise<Run> {
    const end = performance.now() + ms;
    for (;;) {
      const left = Math.max(0, end - performance.now()) / 1000;
      const wait = Math.min(waitSeconds, left);
      const asked = performance.now();
      const run = await this.#server.call('GET', `${pathOf(id)}?wait=${wait}`, RecordJson, { signal, wait, most: mostBytes });
      const now = performance.now();
      if (run.endedAt !== undefined || now >= end) return run;
      const pauseMs = Math.min(leastMs - (now - asked), end - now);
      if (pauseMs > 0) await abortable(signal, sleep(pauseMs));
    }
  }

  /** Cancels a run: one that waits never begins, one that runs is killed. Returns it as it is then. @throws run.unknown */
  cancel(id: string, { signal }: CallOptions = {}): Promise<Run> {
    return this.#server.call('DELETE', pathOf(id), RecordJson, { signal, wait: cancelSeconds, most: mostBytes });
  }

  /**
   * The newest runs, without their results; 50 if `limit` is absent, 1,000 at most. For the pages after it: `view('/v1/runs', …)`, whose
   * answer has the cursor `next` for `before`.
   */
  async list(of: Partial<ViewQuery<'/v1/runs'>> = {}, options: CallOptions = {}): Promise<RunSummary[]> {
    return (await this.view('/v1/runs', of, options)).runs;
  }

  /** Returns a run and, while it has not ended, each node's verdict on it. @throws run.unknown */
  explain(id: string, { signal }: CallOptions = {}): Promise<Run & { nodes?: NodeVerdict[] | undefined }> {
    return this.#server.call('GET', `${pathOf(id)}/explain`, ExplainedRun, { signal });
  }

  /** Returns each node's verdict on a run that is only thought of. @param run in the API's own JSON form */
  async verdicts(run: z.input<typeof RunJson>, { signal }: CallOptions = {}): Promise<NodeVerdict[]> {
    return (await this.#server.call('POST', '/v1/explain', Verdicts, { body: run, signal })).nodes;
  }

  /** The images of the fleet, each with the nodes that can run it now. */
  async images(options: CallOptions = {}): Promise<FleetImage[]> {
    return (await this.view('/v1/images', {}, options)).images;
  }

  async nodes(options: CallOptions = {}): Promise<NodeSummary[]> {
    return (await this.view('/v1/nodes', {}, options)).nodes;
  }

  /** One node with its last 50 events. A machine of a swarm is among the `members` of its node. @throws node.unknown */
  async node(name: string, { signal }: CallOptions = {}): Promise<NodeDetail> {
    if (name.includes('/'))
      throw new KatafleetError('request.invalid', `${name} names a machine: expected a node, whose members are its machines`);
    return this.#server.call('GET', `/v1/nodes/${encodeURIComponent(name)}`, NodeDetail, { signal });
  }

  /**
   * Cordons a node, drains it, or puts it back to use. Returns the node; it may still be draining.
   * @param name a node, or `NODE/MACHINE` for one machine of a swarm
   * @throws node.unknown
   */
  decide(how: 'cordon' | 'drain' | 'uncordon', name: string, { signal }: CallOptions = {}): Promise<NodeSummary> {
    return this.#server.call('POST', `/v1/nodes/${encodeURIComponent(name)}/${how}`, NodeSummary, { signal });
  }

  /** What happened to the nodes, newest first; 100 events if `limit` is absent, 1,000 at most. */
  async events(of: { node?: string; limit?: number } = {}, options: CallOptions = {}): Promise<NodeEvent[]> {
    return (await this.view('/v1/events', of, options)).events;
  }

  async maintenance(options: CallOptions = {}): Promise<MaintenanceState[]> {
    return (await this.view('/v1/maintenance', {}, options)).jobs;
  }

  /** Runs a maintenance job now and returns what it did, or with `dryRun` what it would do. @throws request.unknown */
  async maintain(job: string, { dryRun = false, signal }: CallOptions & { dryRun?: boolean } = {}): Promise<string> {
    const path = `/v1/maintenance/${encodeURIComponent(job)}?dryRun=${dryRun}`;
    return (await this.#server.call('POST', path, Maintained, { signal })).detail;
  }

  /** Any of the API's read-only lists, see src/model/views.ts. */
  view<P extends ViewPath>(path: P, query: Partial<ViewQuery<P>> = {}, { signal }: CallOptions = {}): Promise<ViewAnswer<P>> {
    const said = Object.entries(query).flatMap(([name, value]): [string, string][] => (value === undefined ? [] : [[name, String(value)]]));
    const search = said.length > 0 ? `?${new URLSearchParams(said).toString()}` : '';
    return this.#server.call('GET', `${path}${search}`, views[path].answer as z.ZodType, { signal }) as Promise<ViewAnswer<P>>;
  }
}

const Verdicts = z.object({ nodes: z.array(NodeVerdict) });
const ExplainedRun = z.object({ ...recordFields, nodes: Verdicts.shape.nodes.optional() }).transform(readState);
const Maintained = z.object({ detail: z.string() });

/** A key that a header can carry. A program that trims its spaces, or can't send it, would start another run or none. */
const isKey = /^(?! )[\x20-\x7e\xa0-\xff]{1,255}(?<! )$/;

const pathOf = (id: string) => `/v1/runs/${encodeURIComponent(id)}`;

/** Returns a request as the API takes it. @throws request.invalid, file.unreadable */
async function bodyOf(input: ServerRunInput): Promise<object> {
  const { command, steps = command && [{ argv: [...command] }], ...rest } = input;
  if (!steps || (command && input.steps)) throw new KatafleetError('request.invalid', 'steps: give either command or steps');
  return requestJson(requestFrom({ ...rest, steps }));
}

/** For a server of release 0.1, which has no events of runs. */
function noEvents(error: unknown): undefined {
  if (error instanceof KatafleetError && error.code === 'request.unknown') return undefined;
  throw error;
}

/** The error of a call about a run that the server has accepted. */
function stillThere(error: KatafleetError, id: string): KatafleetError {
  if (!error.retry) return error;
  const { code, message, retryAfterMs } = error;
  return new KatafleetError(code, message, {
    cause: error,
    hint: `the server has accepted the run ${id} and goes on with it`,
    retryAfterMs,
  });
}
