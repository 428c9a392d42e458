import { hour } from '../../../base/units.ts';
import { labels } from '../../../model/labels.ts';
import type { OwnedContainer } from '../../contract.ts';
import type { Listener } from '../dial/listener.ts';
import type { SwarmKeys } from '../services/keys.ts';
import { isOurPool, mergeWants } from '../services/replicas.ts';
import type { TaskShape } from '../services/service.ts';
import { poolLabels, type Services } from '../services/services.ts';
import { replicasOf } from '../services/swarm-objects.ts';
import { ServicePool } from './pool.ts';
import type { SwarmSide } from './swarm-side.ts';

export interface ServicePoolsOptions {
  swarm: SwarmSide & { readonly services: Services };
  listener: Listener;
  keys: SwarmKeys;
  stack: string;
  /** Id of this katafleet in the service labels `katafleet.want.<id>`. */
  instance: string;
  /** Whether the services end with this process; then it adopts none. */
  ephemeral: boolean;
  /** Once it is aborted, no service is adopted. */
  closing: AbortSignal;
}

/** A service without replicas that no run has asked for is removed after this time (ms). */
const unusedMs = 24 * hour;

/** The pools of one deployment, by the names of their services. The tasks of each may dial in at the listener. */
export class ServicePools {
  readonly #options: ServicePoolsOptions;
  readonly #pools = new Map<string, ServicePool>();
  readonly #stopReceiving = new Map<string, () => void>();
  #adopted = false;

  constructor(options: ServicePoolsOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#pools.size;
  }

  get names(): string[] {
    return [...this.#pools.keys()];
  }

  [Symbol.iterator](): Iterator<ServicePool> {
    return this.#pools.values();
  }

  get(name: string): ServicePool | undefined {
    return this.#pools.get(name);
  }

  /** `there`: what a service that exists already is set to. */
  add(name: string, label: string, shape: TaskShape | undefined, there?: { replicas: number; hash: string }): ServicePool {
    const { swarm, listener, keys } = this.#options;
    const pool = new ServicePool(name, label, shape, swarm, { there });
    this.#pools.set(name, pool);
    const stop = listener.admit(name, {
      keyOf: (secret) => (pool.knows(secret) ? keys.secret(secret) : undefined),
      take: (dialled) => pool.take(dialled),
    });
    this.#stopReceiving.set(name, stop);
    return pool;
  }

  /** Takes over the services that an earlier katafleet of this deployment left, with their tasks. Once. @throws engine.*, swarm.* */
  async adopt(): Promise<void> {
    const { swarm, stack, keys, instance, ephemeral, closing } = this.#options;
    if (this.#adopted || ephemeral) return;
    let otherKeys = 0;
    for (const { Spec } of await swarm.services.list()) {
      const own = Spec.Labels ?? {};
      const [hash, label] = [own[poolLabels.shape], own[poolLabels.pool]];
      if (!isOurPool(own, stack, keys.id) || hash === undefined || label === undefined) {
        if (own[labels.deadline] === undefined) otherKeys += 1;
        continue;
      }
      // The replicas that no other katafleet claims are ours.
      const replicas = replicasOf(Spec) - mergeWants(own, instance, 0, Date.now()).replicas;
      if (!closing.aborted && !this.#pools.has(Spec.Name)) this.add(Spec.Name, label, undefined, { replicas: Math.max(0, replicas), hash });
    }
    this.#adopted = true;
    if (otherKeys > 0)
      swarm.onTrouble(
        `${otherKeys} services of another key are in the swarm: katafleet undeploy takes away what an old deployment has left`,
      );
  }

  /** Sets whether the swarm lacks room: then each pool ends its unused tasks at once. */
  press(pressed: boolean): void {
    for (const pool of this) pool.press(pressed);
  }

  /** Sets services again that others have changed, and removes those that have been out of use for long. @throws engine.*, swarm.* */
  async tend(): Promise<void> {
    const { swarm, instance } = this.#options;
    const there = new Map((await swarm.services.list()).map((service) => [service.Spec.Name, service]));
    for (const pool of this) {
      const service = there.get(pool.name);
      const replicas = service ? replicasOf(service.Spec) : 0;
      const wanted = mergeWants(service?.Spec.Labels ?? {}, instance, pool.replicas, Date.now()).replicas;
      if (wanted !== replicas) pool.reapply();
      else if (pool.idle && replicas === 0 && (!service || Date.now() - Date.parse(service.UpdatedAt) >= unusedMs)) await this.#drop(pool);
    }
  }

  async #drop(pool: ServicePool): Promise<void> {
    const { services } = this.#options.swarm;
    if (!(await pool.retire(() => services.remove(pool.name)))) return;
    this.#stopReceiving.get(pool.name)?.();
    this.#stopReceiving.delete(pool.name);
    this.#pools.delete(pool.name);
    await pool.close();
  }

  /**
   * Lists the sandboxes that are handed out, and the services of processes that may have ended. The services of a deployment are not
   * among them: {@link tend} looks after those. @throws engine.*, swarm.*
   */
  async list(): Promise<OwnedContainer[]> {
    const sandboxes = Array.from(this, ({ handedOut }) => Array.from(handedOut, ({ id, labels: own }) => ({ id, labels: own }))).flat();
    const services = (await this.#ephemeralServices())
      .filter(({ Spec }) => !this.#pools.has(Spec.Name))
      .map(({ Spec }) => ({ id: Spec.Name, labels: Spec.Labels ?? {} }));
    return [...sandboxes, ...services].map((one) => ({ ...one, running: true }));
  }

  /** Removes a sandbox or service of {@link list}; a missing one is no error. @throws engine.*, swarm.* */
  async remove(id: string): Promise<void> {
    for (const { handedOut } of this) {
      for (const sandbox of handedOut) if (sandbox.id === id) return sandbox.remove();
    }
    const service = (await this.#ephemeralServices()).find(({ Spec }) => Spec.Name === id);
    if (!service) return;
    const { services } = this.#options.swarm;
    await services.remove(id);
    await services.removeShared(service.Spec.Labels?.[labels.key]);
  }

  async #ephemeralServices() {
    return (await this.#options.swarm.services.list()).filter(({ Spec }) => Spec.Labels?.[labels.deadline] !== undefined);
  }

  /** Disconnects all tasks, which wait for the next katafleet. */
  async close(): Promise<void> {
    for (const stop of this.#stopReceiving.values()) stop();
    await Promise.all(Array.from(this, (pool) => pool.close()));
  }

  /** Removes all services and their shared objects, after {@link close}. @throws engine.*, swarm.* */
  async removeAll(): Promise<void> {
    const { services } = this.#options.swarm;
    const removals = await Promise.allSettled(this.names.map((name) => services.remove(name)));
    await services.removeShared();
    for (const removal of removals) if (removal.status === 'rejected') throw removal.reason;
  }
}
