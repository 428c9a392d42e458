import { createHash } from 'node:crypto';
import type Dockerode from 'dockerode';
import { z } from 'zod';
import { messageOf } from '../../../model/errors.ts';
import { labels } from '../../../model/labels.ts';
import { isStatus } from '../../docker/errors.ts';
import type { ApiVersion } from '../../docker/version.ts';
import { supervisorBinary } from '../../docker/supervisor.ts';
import type { SwarmKeys } from './keys.ts';
import type { Managers } from '../nodes/managers.ts';
import { mergeWants } from './replicas.ts';
import { findOrCreate, findOrCreateOverlay, findService, listed, removeNetwork, Service, unlessGone, unlessUsed } from './swarm-objects.ts';
import { placement, type References, serviceSpec, shapeHash, type TaskShape } from './service.ts';

/** Labels of a pool's service, in addition to those of every object of ours. */
export const poolLabels = {
  /** {@link shapeHash} of its tasks. */
  shape: 'katafleet.shape',
  /** The pool, JSON of its image's name and its limits. */
  pool: 'katafleet.pool',
} as const;

/** The deployment to which the services belong, and how to reach its swarm. */
export interface ServicesOptions {
  managers: Managers;
  keys: SwarmKeys;
  stack: string;
  /** Id of this katafleet in the service labels `katafleet.want.<id>`. */
  instance: string;
  /** Labels of ephemeral services, which no later katafleet takes over: owner, deadline. */
  ephemeral?: Readonly<Record<string, string>> | undefined;
  /** Name of the overlay for tasks; `<stack>_tasks` if absent. */
  network?: string | undefined;
}

/** What a pool's service should be set to. */
export interface DesiredService {
  name: string;
  /** JSON for the label. */
  pool: string;
  /** If undefined, its tasks stay as they are. */
  shape: TaskShape | undefined;
  replicas: number;
  /** Ids of nodes that lack the image. */
  excluded: readonly string[];
}

type Shaped = DesiredService & { shape: TaskShape };

/** Name of the secret that a service's tasks of a shape have. */
export const secretName = (service: string, hash: string): string => `${service}-${hash}`;

/** Attempts at a change, if others change the service at the same time. */
const mostTries = 8;

/** Whether the error says that others changed, created or removed the service, or an object that it refers to, in the meantime. */
const overtaken = (error: unknown): boolean =>
  isStatus(error, 409) || /update out of sequence|name conflicts|(service|secret|config|network) (\S+ )?not found/i.test(messageOf(error));

/** The services, secrets, configs and networks of one deployment in the swarm. */
export class Services {
  readonly #options: ServicesOptions;

  constructor(options: ServicesOptions) {
    this.#options = options;
  }

  get stack(): string {
    return this.#options.stack;
  }

  /** The labels of every object of this deployment. */
  labelsOf(role: string): Record<string, string> {
    const { stack, keys, ephemeral } = this.#options;
    return { [labels.role]: role, [labels.stack]: stack, [labels.key]: keys.id, ...ephemeral };
  }

  /** Sets the service as desired. Returns its replicas, for all katafleets together. @throws engine.*, swarm.* */
  apply(wanted: DesiredService): Promise<number> {
    return this.#options.managers.do(`set the service ${wanted.name}`, async (docker, api, signal) => {
      for (let tries = 1; ; tries += 1) {
        signal.throwIfAborted();
        try {
          const there = await findService(docker, wanted.name);
          if (there) return await this.#update(docker, api, there, wanted);
          const { shape } = wanted;
          return shape && wanted.replicas > 0 ? await this.#create(docker, api, { ...wanted, shape }) : 0;
        } catch (error) {
          if (!overtaken(error) || tries >= mostTries) throw error;
        }
      }
    });
  }

  async #create(docker: Dockerode, api: ApiVersion, wanted: Shaped): Promise<number> {
    const { name, shape, replicas, excluded } = wanted;
    const merged = mergeWants({ ...this.#serviceLabels(wanted) }, this.#options.instance, replicas, Date.now());
    const refs = await this.#references(docker, name, shape);
    const names = { name, stack: this.#options.stack, labels: merged.labels };
    const spec = serviceSpec(names, shape, refs, api, excluded);
    await docker.createService({ ...spec, Mode: { Replicated: { Replicas: merged.replicas } } });
    return merged.replicas;
  }

  async #update(docker: Dockerode, api: ApiVersion, there: Service, wanted: DesiredService): Promise<number> {
    const { name, shape, replicas, excluded } = wanted;
    const { instance, stack } = this.#options;
    const had = there.Spec.Labels ?? {};
    const other = shape && had[poolLabels.shape] !== shapeHash(shape) ? shape : undefined;
    const merged = mergeWants({ ...had, ...(other && this.#serviceLabels({ ...wanted, shape: other })) }, instance, replicas, Date.now());
    const spec: object = other
      ? serviceSpec({ name, stack, labels: {} }, other, await this.#references(docker, name, other), api, excluded)
      : {
          ...there.Spec,
          TaskTemplate: { ...there.Spec.TaskTemplate, ...(shape && { Placement: placement(shape, excluded, shape.limits.machines) }) },
        };
    const body = { ...spec, Labels: merged.labels, Mode: { Replicated: { Replicas: merged.replicas } } };
    await docker.getService(there.ID).update({ _query: { version: there.Version.Index }, _body: body });
    if (other) await this.#dropSecrets(docker, name, secretName(name, shapeHash(other)));
    return merged.replicas;
  }

  #serviceLabels({ shape, pool }: Shaped): Record<string, string> {
    return {
      ...this.labelsOf('pool'),
      [poolLabels.shape]: shapeHash(shape),
      [poolLabels.pool]: pool,
    };
  }

  async #references(docker: Dockerode, name: string, shape: TaskShape): Promise<References> {
    const { stack, keys, network = `${stack}_tasks` } = this.#options;
    const secret = secretName(name, shapeHash(shape));
    return {
      config: await this.supervisorConfig(docker, shape.architecture),
      secret: { id: await findOrCreate(docker, 'secrets', secret, this.labelsOf('secret'), keys.secret(secret)), name: secret },
      network: shape.way === 'overlay' ? await findOrCreateOverlay(docker, network, this.labelsOf('network')) : undefined,
    };
  }

  /** Returns the supervisor's config in the swarm; creates it if it is missing. */
  async supervisorConfig(docker: Dockerode, architecture: 'amd64' | 'arm64'): Promise<References['config']> {
    const { bytes, sha256 } = await supervisorBinary(architecture);
    const { ephemeral, keys } = this.#options;
    // The config of an ephemeral deployment is removed with its process, so it has a name that no other process uses.
    const digest = ephemeral ? createHash('sha256').update(`${sha256}${keys.id}`).digest('hex') : sha256;
    const name = `${this.stack}-supervisor-${architecture}-${digest.slice(0, 12)}`;
    return { id: await findOrCreate(docker, 'configs', name, this.labelsOf('config'), bytes), name };
  }

  /** Removes the secrets of a service's former tasks. */
  async #dropSecrets(docker: Dockerode, service: string, keep: string): Promise<void> {
    for (const { ID, Spec } of await listed(docker, 'secrets', [`${labels.role}=secret`])) {
      if (Spec.Name.startsWith(`${service}-`) && Spec.Name !== keep) await unlessUsed(docker.getSecret(ID).remove());
    }
  }

  /** Lists the services of this deployment, whichever katafleet created them. @throws engine.*, swarm.* */
  list(): Promise<Service[]> {
    const { managers, stack } = this.#options;
    return managers.do('list the services', async (docker) => {
      const filters = { label: [`${labels.role}=pool`, `${labels.stack}=${stack}`] };
      return z.array(Service).parse(await docker.listServices({ filters }));
    });
  }

  /** Removes a service and its secrets; missing ones are no error. @throws engine.*, swarm.* */
  remove(name: string): Promise<void> {
    return this.#options.managers.do(`remove the service ${name}`, async (docker) => {
      await unlessGone(docker.getService(name).remove());
      await this.#dropSecrets(docker, name, '');
    });
  }

  /**
   * Removes the configs of a key (by default its own) and the networks of the deployment, if no service uses them; the swarm itself
   * refuses to remove used ones. @throws engine.*, swarm.*
   */
  removeShared(key = this.#options.keys.id): Promise<void> {
    const { managers, stack } = this.#options;
    return managers.do('remove what the services shared', async (docker, _api, signal) => {
      const of = `${labels.stack}=${stack}`;
      for (const { ID } of await listed(docker, 'configs', [`${labels.role}=config`, of, `${labels.key}=${key}`]))
        await unlessUsed(docker.getConfig(ID).remove());
      const networks = await docker.listNetworks({ filters: { label: [`${labels.role}=network`, of] } });
      for (const { Id, Name } of networks) await removeNetwork(docker, Id, Name, signal);
    });
  }
}
