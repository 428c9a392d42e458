import type Dockerode from 'dockerode';
import { KatafleetError, messageOf } from '../../core/errors.ts';
import { engineError } from '../api/errors.ts';
import { type ApiVersion, parseApiVersion } from '../api/version.ts';
import type { Driver } from '../contract.ts';

/** A manager's own engine: what the swarm driver needs of it beside what every driver can. */
export interface ManagerEngine extends Driver {
  client(): Promise<Dockerode>;
}

/** How long a manager may take to answer, ms; a swarm without a leader keeps its callers waiting for 5 s. */
const callMs = 15_000;

/** The managers of one swarm by which it can be asked: one at a time, another when that one does not answer. */
export class Managers {
  readonly engines: readonly ManagerEngine[];
  #current = 0;

  constructor(engines: readonly [ManagerEngine, ...ManagerEngine[]]) {
    this.engines = engines;
  }

  get current(): ManagerEngine {
    return this.engines[this.#current] as ManagerEngine;
  }

  /** Whatever is asked goes to the manager that answered last, then to each of the others. @throws engine.*, swarm.* */
  async ask<T>(body: (engine: ManagerEngine) => Promise<T>): Promise<T> {
    const first = this.#current;
    for (let tries = 1; ; tries += 1) {
      try {
        return await body(this.current);
      } catch (error) {
        const gone = error instanceof KatafleetError && ['engine.unreachable', 'engine.timeout', 'swarm.leaderless'].includes(error.code);
        if (!gone || tries >= this.engines.length) throw error;
        if (this.#current === (first + tries - 1) % this.engines.length) this.#current = (first + tries) % this.engines.length;
      }
    }
  }

  /**
   * A call of the swarm's API. `doing` completes "can't …". A manager that takes it and does not answer in time is as good as gone.
   * @throws engine.*, swarm.*
   */
  do<T>(doing: string, body: (docker: Dockerode, api: ApiVersion) => Promise<T>, longestMs = callMs): Promise<T> {
    return this.ask(async (engine) => {
      const docker = await engine.client();
      const { apiVersion } = await engine.probe();
      try {
        return await inTime(body(docker, parseApiVersion(apiVersion)), longestMs, `${engine.endpoint} does not answer: can't ${doing}`);
      } catch (error) {
        throw swarmError(error, engine.endpoint, doing);
      }
    });
  }
}

async function inTime<T>(work: Promise<T>, ms: number, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new KatafleetError('engine.timeout', `${what} within ${ms / 1000} s`)), ms);
  });
  work.catch(() => undefined); // its failure after the deadline is nobody's any more
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** What a manager said that has a meaning of its own in a swarm. */
export function swarmError(error: unknown, endpoint: string, doing: string): KatafleetError {
  const known = engineError(error, endpoint, doing);
  if (known.code !== 'engine.failed' && known.code !== 'engine.conflict') return known;
  const said = messageOf(error);
  if (/does not have a leader|has no leader|leader.*(unknown|lost)|context deadline exceeded|raft/i.test(said)) {
    return new KatafleetError('swarm.leaderless', `the swarm has no leader now: can't ${doing} at ${endpoint}`, {
      cause: error,
      hint: 'it elects one when most of its managers are up: docker node ls',
    });
  }
  if (/swarm is encrypted|needs to be unlocked|swarm is locked/i.test(said)) {
    return new KatafleetError('swarm.locked', `the swarm of ${endpoint} is locked: can't ${doing}`, {
      cause: error,
      hint: 'docker swarm unlock, on that manager',
    });
  }
  if (/not a swarm manager/i.test(said)) {
    return new KatafleetError('swarm.no_manager', `${endpoint} is no manager of a swarm any more: can't ${doing}`, {
      cause: error,
      hint: 'docker node promote, or name a manager as the endpoint',
    });
  }
  return known;
}
