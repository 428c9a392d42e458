import { setTimeout as sleep } from 'node:timers/promises';
import { ApiError, type ApiClient, type RunAnswer } from '../../support/service.ts';
import type { Clients, LiveRun } from '../load/clients.ts';
import type { Witness } from '../load/witness.ts';
import type { Copies } from './copies.ts';
import type { RunState } from './table.ts';

/** How often a run is looked at if the API has no events, and after an error, ms. */
const everyMs = 100;

export interface Where {
  state: RunState;
  /** The node, from the time when it is known. */
  node?: string;
  /** Control groups of its program, if it executes: they name the machine. */
  groups?: string;
}

/** The fields of a run's events that matter here. Their types are told by docs/api.md. */
interface Event {
  type: string;
  node?: string;
}

/** Knows where each acknowledged run is, by its events, or by its record where the API has none. */
export class Tracker {
  readonly #api: ApiClient;
  readonly #clients: Clients;
  readonly #witness: Witness;
  readonly #where = new Map<LiveRun, Where>();
  readonly #following = new Set<LiveRun>();
  readonly #timer: NodeJS.Timeout;
  readonly #copies: Copies | undefined;
  /** Runs whose node has their image by now. */
  readonly #arrived = new WeakSet<LiveRun>();
  readonly #asking = new WeakSet<LiveRun>();
  #hasEvents = true;

  constructor(api: ApiClient, clients: Clients, witness: Witness, copies?: Copies) {
    [this.#api, this.#clients, this.#witness, this.#copies] = [api, clients, witness, copies];
    this.#timer = setInterval(() => {
      this.#followNew();
      for (const run of clients.live) if (this.#waitsForImage(run)) void this.#askImage(run);
    }, 20);
  }

  /** Where each live run is now. Runs whose state is not known are left out. */
  now(): Where[] {
    this.#witness.look();
    const running = this.#witness.running();
    return this.#clients.live.flatMap((run) => {
      const where = this.#where.get(run);
      if (!where) return [];
      if (this.#waitsForImage(run)) return { ...where, state: 'placed' };
      const { nonce } = run.submission;
      const groups = running.get(nonce)?.groups;
      if (groups !== undefined) return { ...where, state: 'executing', groups };
      // The record does not say when a program has ended.
      const isOver = !this.#hasEvents && where.state === 'executing' && this.#witness.has(nonce);
      return isOver ? { ...where, state: 'collecting' } : where;
    });
  }

  #waitsForImage(run: LiveRun): boolean {
    return run.order.copied !== undefined && this.#where.get(run)?.state === 'acquiring' && !this.#arrived.has(run);
  }

  async #askImage(run: LiveRun): Promise<void> {
    const { node, copied } = run.order;
    if (node === undefined || copied === undefined || this.#asking.has(run)) return;
    this.#asking.add(run);
    if ((await this.#copies?.isOn(node, copied)) ?? true) this.#arrived.add(run);
    this.#asking.delete(run);
  }

  #followNew(): void {
    for (const run of this.#clients.live) {
      if (run.id === undefined || this.#following.has(run)) continue;
      this.#following.add(run);
      void this.#follow(run, run.id);
    }
  }

  async #follow(run: LiveRun, id: string): Promise<void> {
    const isLive = () => this.#clients.live.includes(run);
    let after = '';
    while (isLive()) {
      try {
        if (this.#hasEvents) after = await this.#byEvents(run, id, after);
        else {
          await this.#byRecord(run, id);
          await sleep(everyMs);
        }
      } catch (error) {
        if (error instanceof ApiError && error.status === 404 && error.message.includes('request.unknown')) this.#hasEvents = false;
        else {
          this.#where.delete(run); // nobody listens, and what is known may be over
          await sleep(everyMs);
        }
      }
    }
    this.#where.delete(run);
    this.#following.delete(run);
  }

  /** Waits for news of a run. Returns the id of the last event. */
  async #byEvents(run: LiveRun, id: string, after: string): Promise<string> {
    const query = after === '' ? '' : `&after=${after}`;
    const { events, next } = await this.#api.call<{ events: Event[]; next: string }>('GET', `/v1/runs/${id}/events?wait=10${query}`);
    for (const { type, node } of events) {
      const was = this.#where.get(run);
      const at = node ?? was?.node;
      const state = stateAfter(type) ?? was?.state ?? 'queued';
      this.#where.set(run, { state, ...(at === undefined || state === 'queued' ? {} : { node: at }) });
    }
    return next;
  }

  async #byRecord(run: LiveRun, id: string): Promise<void> {
    const { state, position, attempts } = await this.#api.call<RunAnswer & { position?: number }>('GET', `/v1/runs/${id}`);
    const node = attempts.at(-1)?.node;
    if (state === 'running') this.#where.set(run, { state: 'executing', ...(node === undefined ? {} : { node }) });
    else if (state === 'waiting') {
      const { node: wanted } = run.order;
      this.#where.set(run, position === undefined && wanted !== undefined ? { state: 'acquiring', node: wanted } : { state: 'queued' });
    }
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}

/** The state that begins with an event; undefined if it goes on. A lost attempt puts its run into the queue. */
function stateAfter(type: string): RunState | undefined {
  switch (type) {
    case 'queued':
    case 'void':
      return 'queued';
    case 'placed':
      return 'acquiring';
    case 'attempt':
    case 'stdout':
      return 'executing';
    case 'step':
    case 'file':
      return 'collecting';
    default:
      return undefined;
  }
}
