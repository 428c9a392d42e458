import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { ApiError, type ApiClient, type RunAnswer } from '../../support/service.ts';
import type { KeptRun, Submission } from './history.ts';
import { type Order, tenantOf } from './orders.ts';

/** How long a client waits after a refusal, or when nobody listens, ms. */
const pauseMs = 100;

/** A run that a client waits for. */
export interface LiveRun {
  submission: Submission;
  /** Known when the run is acknowledged. */
  id?: string;
  order: Order;
}

/** Clients that submit one run after another, and write down what they were told. */
export class Clients {
  readonly submissions: Submission[] = [];
  readonly #api: ApiClient;
  readonly #orders: Iterator<Order, never>;
  readonly #live = new Set<LiveRun>();
  readonly #byKey = new Map<string, { submission: Submission; order: Order }>();
  #over = false;
  #left = false;
  #working: Promise<unknown> = Promise.resolve();
  /** Answers other than a run, a refusal that can be repeated, or none: they are faults. */
  readonly surprises: string[] = [];

  constructor(api: ApiClient, orders: Iterator<Order, never>) {
    this.#api = api;
    this.#orders = orders;
  }

  get live(): readonly LiveRun[] {
    return Array.from(this.#live);
  }

  get acknowledged(): number {
    return this.submissions.filter(({ told }) => told.length > 0).length;
  }

  /** How many runs clients were told the end of. */
  get ended(): number {
    return this.submissions.filter(({ told }) => told.at(-1)?.end !== undefined).length;
  }

  start(count: number): void {
    this.#working = Promise.all(Array.from({ length: count }, () => this.#work()));
  }

  /** Submits nothing new. Resolves when each client that insists was told the end of its run, or has been told to leave. */
  async finish(): Promise<void> {
    this.#over = true;
    await this.#working;
  }

  /** Ends all waits for runs: those without an end stay so. */
  leave(): void {
    this.#over = true;
    this.#left = true;
  }

  async #work(): Promise<void> {
    while (!this.#over) {
      const order = this.#orders.next().value;
      const submission: Submission = { key: order.key, nonce: order.nonce, sentAt: performance.now(), sent: 0, refused: 0, told: [] };
      this.submissions.push(submission);
      this.#byKey.set(order.key, { submission, order });
      const run: LiveRun = { submission, order };
      this.#live.add(run);
      try {
        await this.#follow(run);
      } finally {
        this.#live.delete(run);
      }
    }
  }

  async #follow(run: LiveRun): Promise<void> {
    const { submission, order } = run;
    let path = `/v1/runs?wait=${order.waitS}`;
    while (!this.#left) {
      try {
        const answer = run.id === undefined ? await this.#submit(submission, order, path) : await this.#api.call<RunAnswer>('GET', path);
        if (run.id !== undefined) submission.told.push(toldOf(answer));
        run.id = answer.id;
        path = `/v1/runs/${answer.id}?wait=20`;
        if (answer.endedAt !== undefined) return;
      } catch (error) {
        if (!isTransient(error)) {
          this.surprises.push(`${order.key}: ${(error as Error).message}`);
          return;
        }
        if (!order.insists) return;
        await sleep(pauseMs);
      }
      if (!order.insists) return;
    }
  }

  /** Sends the request of a key once more. @throws what the API client throws */
  async again(key: string): Promise<RunAnswer> {
    const known = this.#byKey.get(key);
    if (!known) throw new Error(`no request has the key ${key}`);
    return this.#submit(known.submission, known.order, '/v1/runs');
  }

  async #submit(submission: Submission, { body, key }: Order, path: string): Promise<RunAnswer> {
    submission.sent += 1;
    try {
      const answer = await this.#api.call<RunAnswer>('POST', path, body, { 'idempotency-key': key });
      submission.told.push(toldOf(answer));
      return answer;
    } catch (error) {
      if (error instanceof ApiError) submission.refused += 1;
      throw error;
    }
  }

  /** Asks for every run that is stored. */
  async kept(): Promise<KeptRun[]> {
    const all: KeptRun[] = [];
    const tenants = new Set(this.submissions.map((_, index) => tenantOf(index)));
    for (const tenant of tenants) {
      const { runs } = await this.#api.call<{ runs: { id: string }[] }>('GET', `/v1/runs?limit=1000&tenant=${tenant}`);
      for (const { id } of runs) all.push(keptOf(await this.#api.call<RunAnswer & { key: string }>('GET', `/v1/runs/${id}`)));
    }
    return all;
  }
}

/** No answer, a broken one, or a refusal for the moment: the same request may be sent again. */
export function isTransient(error: unknown): boolean {
  if (error instanceof ApiError) return [429, 503, 504, 507].includes(error.status);
  return error instanceof TypeError || error instanceof SyntaxError || (error as Error).name === 'TimeoutError';
}

const toldOf = (answer: RunAnswer) => ({ at: performance.now(), id: answer.id, ...endOf(answer) });

/** All that is told about an end, in short: the outcome, and a hash of everything. */
function endOf(answer: RunAnswer): { end?: string } {
  if (answer.endedAt === undefined) return {};
  const { id, state, endedAt, attempts, result, error } = answer;
  const hash = createHash('sha256').update(JSON.stringify({ id, state, endedAt, attempts, result, error }));
  const kind = result ? `${result.outcome.kind} ${result.outcome.code ?? ''} of attempt ${result.attempt}` : (error?.code ?? '');
  return { end: `${state} ${kind} ${hash.digest('hex').slice(0, 12)}` };
}

function keptOf(answer: RunAnswer & { key: string }): KeptRun {
  const { id, key, state, attempts, result, error } = answer;
  const wrote = result?.changes.files.find(({ path }) => path === 'out.txt')?.content.trim();
  const printed = result?.steps
    .map(({ stdout }) => stdout)
    .join('')
    .trim();
  return {
    id,
    key,
    state,
    attempts: attempts.map((one) => ({ number: one.number, state: one.state })),
    ...endOf(answer),
    ...(printed === undefined ? {} : { printed }),
    ...(wrote === undefined ? {} : { wrote }),
    ...(result ? { outcome: `${result.outcome.kind} ${result.outcome.code ?? ''}` } : {}),
    ...(error ? { error: `${error.code}: ${error.message}` } : {}),
  };
}
