import { createHash } from 'node:crypto';
import type Dockerode from 'dockerode';
import type { Stack, StackService } from './stack.ts';

/** Labels by which `docker stack` finds a stack's objects: each of the two commands can update and show what the other deployed. */
export const stackLabels = { namespace: 'com.docker.stack.namespace', image: 'com.docker.stack.image' } as const;

/** A label of each container: a hash of its configuration, which differs between the new and the previous container. */
export const deployedLabel = 'katafleet.deployed';

/** Ids of the objects that a service uses, by their keys in the stack. */
export interface Ids {
  networks: ReadonlyMap<string, string>;
  configs: ReadonlyMap<string, string>;
  secrets: ReadonlyMap<string, string>;
}

/** A service as the Engine API takes it. */
export type ServiceSpec = Dockerode.CreateServiceOptions & { Name: string };

export const serviceName = (stack: string, key: string): string => `${stack}_${key}`;

/** Returns the stack's networks by key, as the Engine API creates them. */
export function networkSpecs(name: string, { networks }: Stack): Map<string, Dockerode.NetworkCreateOptions & { Name: string }> {
  return new Map(
    Object.entries(networks).map(([key, network]) => [
      key,
      {
        Name: network.name ?? `${name}_${key}`,
        Driver: network.driver,
        Internal: network.internal,
        Attachable: network.attachable,
        Labels: { ...network.labels, [stackLabels.namespace]: name },
        CheckDuplicate: true,
      },
    ]),
  );
}

/**
 * Returns the service that `docker stack deploy` would create of the same lines. Its tasks use `image` instead of the name in the
 * stack.
 */
export function serviceSpec(name: string, key: string, stack: Stack, image: string, ids: Ids): ServiceSpec {
  const service = stack.services[key];
  if (!service) throw new Error(`the stack has no service ${key}`);
  const { deploy } = service;
  const own = { [stackLabels.namespace]: name };
  const spec = {
    Name: serviceName(name, key),
    Labels: { ...deploy.labels, ...own, [stackLabels.image]: service.image },
    TaskTemplate: {
      ContainerSpec: containerSpec(name, service, stack, image, ids),
      Resources: {
        Limits: { NanoCPUs: deploy.resources.limits.cpus, MemoryBytes: deploy.resources.limits.memory },
        Reservations: { NanoCPUs: deploy.resources.reservations.cpus, MemoryBytes: deploy.resources.reservations.memory },
      },
      RestartPolicy: { Condition: deploy.restart_policy.condition, Delay: deploy.restart_policy.delay, MaxAttempts: 0 },
      Placement: { Constraints: deploy.placement.constraints },
      Networks: Object.entries(service.networks).map(([network, { aliases }]) => ({
        Target: idOf(ids.networks, network),
        Aliases: [...new Set([...aliases, key])],
      })),
      ForceUpdate: 0,
      Runtime: 'container',
    },
    Mode: { Replicated: { Replicas: deploy.replicas } },
    UpdateConfig: {
      Parallelism: deploy.update_config.parallelism,
      FailureAction: deploy.update_config.failure_action,
      Monitor: deploy.update_config.monitor,
      MaxFailureRatio: 0,
      Order: deploy.update_config.order,
    },
    RollbackConfig: {
      Parallelism: deploy.rollback_config.parallelism,
      FailureAction: 'pause',
      Monitor: 5_000_000_000,
      MaxFailureRatio: 0,
      Order: deploy.rollback_config.order,
    },
    EndpointSpec: {
      Mode: deploy.endpoint_mode,
      Ports: service.ports.map(({ target, published, protocol, mode }) => ({
        Protocol: protocol,
        TargetPort: target,
        PublishedPort: published,
        PublishMode: mode,
      })),
    },
  };
  const hash = createHash('sha256').update(JSON.stringify(spec)).digest('hex').slice(0, 16);
  spec.TaskTemplate.ContainerSpec.Labels[deployedLabel] = hash;
  return spec as ServiceSpec; // dockerode's types lack some fields of the API
}

function containerSpec(name: string, service: StackService, stack: Stack, image: string, ids: Ids) {
  const file = ({ target, uid, gid, mode }: StackService['configs'][number]) => ({ Name: target, UID: uid, GID: gid, Mode: mode });
  const labels: Record<string, string> = { ...service.labels, [stackLabels.namespace]: name };
  return {
    Image: image,
    Labels: labels,
    Args: service.command,
    Env: Object.entries(service.environment)
      .map(([key, value]) => `${key}=${value}`)
      .sort(),
    User: service.user,
    Init: service.init,
    ReadOnly: service.read_only,
    CapabilityDrop: service.cap_drop,
    Mounts: service.volumes.map((mount) => mountSpec(name, mount, stack)),
    StopGracePeriod: service.stop_grace_period,
    Healthcheck: {
      Interval: service.healthcheck.interval,
      Timeout: service.healthcheck.timeout,
      StartPeriod: service.healthcheck.start_period,
      Retries: service.healthcheck.retries,
    },
    Configs: service.configs.map((config) => ({
      File: file(config),
      ConfigID: idOf(ids.configs, config.source),
      ConfigName: stack.configs[config.source]?.name,
    })),
    Secrets: service.secrets.map((secret) => ({
      File: file(secret),
      SecretID: idOf(ids.secrets, secret.source),
      SecretName: stack.secrets[secret.source]?.name,
    })),
  };
}

function mountSpec(name: string, mount: StackService['volumes'][number], stack: Stack) {
  switch (mount.type) {
    case 'volume': {
      const volume = stack.volumes[mount.source];
      const labels = { ...volume?.labels, [stackLabels.namespace]: name };
      return { Type: 'volume', Source: volume?.name, Target: mount.target, VolumeOptions: { Labels: labels } };
    }
    case 'bind':
      return { Type: 'bind', Source: mount.source, Target: mount.target, ...(mount.read_only ? { ReadOnly: true } : {}) };
    case 'tmpfs':
      return { Type: 'tmpfs', Target: mount.target, TmpfsOptions: { SizeBytes: mount.tmpfs.size } };
  }
}

function idOf(ids: ReadonlyMap<string, string>, key: string): string {
  const id = ids.get(key);
  if (id === undefined) throw new Error(`${key} was not made`);
  return id;
}
