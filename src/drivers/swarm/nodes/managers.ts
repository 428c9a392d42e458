import type Dockerode from 'dockerode';
import { z } from 'zod';
import { within } from '../../../base/deadline.ts';
import { type ErrorCode, KatafleetError, messageOf } from '../../../model/errors.ts';
import { inSeconds } from '../../../model/quantity.ts';
import { engineError } from '../../docker/errors.ts';
import { type ApiVersion, parseApiVersion } from '../../docker/version.ts';
import type { Driver } from '../../contract.ts';

/** A manager's engine: a driver, and what the swarm driver needs in addition. */
export interface ManagerEngine extends Driver {
  client(): Promise<Dockerode>;
}

/** How long a manager may take to answer (ms). A swarm without a leader lets its callers wait for 5 s. */
const callMs = 15_000;

/** Errors for which another manager is asked. */
const elsewhere: readonly ErrorCode[] = ['engine.unreachable', 'engine.timeout', 'swarm.leaderless', 'swarm.locked', 'swarm.no_manager'];

/** The managers of one swarm. Asks one at a time, and another when that one does not answer. */
export class Managers {
  readonly engines: readonly ManagerEngine[];
  readonly #callMs: number;
  #current = 0;

  /** @param longestMs how long each manager may take to answer */
  constructor(engines: readonly [ManagerEngine, ...ManagerEngine[]], longestMs = callMs) {
    this.engines = engines;
    this.#callMs = longestMs;
  }

  get current(): ManagerEngine {
    return this.engines[this.#current] as ManagerEngine;
  }

  /**
   * Asks the manager that answered last, then each of the others. If none succeeds, a manager's own error goes before the error of one that
   * did not answer. @throws engine.*, swarm.*
   */
  async ask<T>(body: (engine: ManagerEngine) => Promise<T>): Promise<T> {
    const first = this.#current;
    const order = [...this.engines.slice(first), ...this.engines.slice(0, first)];
    let reported: KatafleetError | undefined;
    for (const [tries, engine] of order.entries()) {
      const at = (first + tries) % order.length;
      try {
        const answer = await body(engine);
        this.#current = at;
        return answer;
      } catch (error) {
        if (!(error instanceof KatafleetError) || !elsewhere.includes(error.code)) throw error;
        if (!reported?.code.startsWith('swarm.')) reported = error;
        if (this.#current === at && tries + 1 < order.length) this.#current = (at + 1) % order.length;
      }
    }
    throw reported ?? new KatafleetError('internal', 'there is no manager to ask');
  }

  /**
   * Calls the swarm's API. `doing` completes "can't …" in messages. A manager that does not answer in time counts as unreachable. The
   * signal then aborts, so that a body with several calls stops. @throws engine.*, swarm.*
   */
  do<T>(
    doing: string,
    body: (docker: Dockerode, api: ApiVersion, signal: AbortSignal) => Promise<T>,
    longestMs = this.#callMs,
  ): Promise<T> {
    return this.ask(async (engine) => {
      const docker = await engine.client();
      const { apiVersion } = await engine.probe();
      const late = new AbortController();
      try {
        return await within(longestMs, () => body(docker, parseApiVersion(apiVersion), late.signal), {
          late: () =>
            new KatafleetError('engine.timeout', `${engine.endpoint} does not answer: can't ${doing} within ${inSeconds(longestMs)}`),
        });
      } catch (error) {
        throw swarmError(error, engine.endpoint, doing);
      } finally {
        late.abort();
      }
    });
  }
}

/** Translates a manager's error that means something particular in a swarm. */
export function swarmError(error: unknown, endpoint: string, doing: string): KatafleetError {
  if (error instanceof z.ZodError) {
    return new KatafleetError('engine.failed', `can't ${doing}: ${endpoint} gives an unexpected answer: ${z.prettifyError(error)}`, {
      cause: error,
    });
  }
  const known = engineError(error, endpoint, doing);
  if (known.code !== 'engine.failed' && known.code !== 'engine.conflict') return known;
  const said = messageOf(error);
  if (/swarm is encrypted|needs to be unlocked|swarm is locked/i.test(said)) {
    return new KatafleetError('swarm.locked', `the swarm of ${endpoint} is locked: can't ${doing}`, {
      cause: error,
      hint: 'docker swarm unlock, on that manager',
    });
  }
  if (/not a swarm manager/i.test(said)) {
    return new KatafleetError('swarm.no_manager', `${endpoint} is no longer a manager of a swarm: can't ${doing}`, {
      cause: error,
      hint: 'docker node promote, or name a manager as the endpoint',
    });
  }
  if (leaderless.test(said)) {
    return new KatafleetError('swarm.leaderless', `the swarm has no leader now: can't ${doing} at ${endpoint}`, {
      cause: error,
      hint: 'it elects one when most of its managers are up: docker node ls',
    });
  }
  return known;
}

/** A manager passes calls on to the leader. If it can't reach the leader, the swarm has none for it. */
const leaderless =
  /does not have a leader|has no leader|leader.*(unknown|lost)|context deadline exceeded|code = (Unavailable|DeadlineExceeded)|\braft\b/i;
