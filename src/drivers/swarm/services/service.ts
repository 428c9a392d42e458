import { createHash } from 'node:crypto';
import type Dockerode from 'dockerode';
import { hour } from '../../../base/units.ts';
import { KatafleetError } from '../../../model/errors.ts';
import { labels } from '../../../model/labels.ts';
import { hasSwarmWords, splitConstraint } from '../../../model/placing.ts';
import type { SandboxLimits } from '../../../model/profile.ts';
import { type ApiVersion, atLeast } from '../../docker/version.ts';
import { capabilities, hostName, leastShm, noResolver, supervisorPath, tmpfsBytes, ulimits } from '../../docker/isolation.ts';

/** The network on which a task dials: its node's own, or an overlay. The user's code has neither. */
export type TaskNetwork = 'host' | 'overlay';

/** All that defines a service's tasks: if any of it changes, the tasks are replaced. */
export interface TaskShape {
  /** An id, or `repository@sha256:…`; never a tag, because each task would ask a registry for it. */
  image: string;
  architecture: 'amd64' | 'arm64';
  /** Folders that the image declares as volumes. */
  volumes: readonly string[];
  limits: SandboxLimits;
  way: TaskNetwork;
  /** Where the supervisor dials, `HOST:PORT`. */
  address: string;
  /** SHA-256 of the supervisor. */
  supervisor: string;
  /** How long a task waits for its run before it is replaced (ms). */
  idleMs: number;
  /** Tells the generations of a secret apart. */
  generation: string;
  /** AppArmor forbids mounts on the nodes: a volume replaces the tmpfs, from which no program could be executed. */
  appArmor: boolean;
}

/** The objects of the swarm that a service refers to. */
export interface References {
  config: { id: string; name: string };
  secret: { id: string; name: string };
  /** Id of the overlay. */
  network: string | undefined;
}

export interface ServiceNames {
  name: string;
  stack: string;
  /** Labels of the service itself. */
  labels: Readonly<Record<string, string>>;
}

/** Path of the secret in a task; only root can read it. */
const secretPath = '/run/secrets/katafleet';
/** A task that is to stop ends after its run; this bound only matters if the run's own limits fail (ns). */
const stopGraceNs = 25 * hour * 1e6;
const platforms = { amd64: 'x86_64', arm64: 'aarch64' } as const;

/** Hash of a shape. */
export function shapeHash(shape: TaskShape): string {
  const sorted = (of: object) => Object.entries(of).sort(([a], [b]) => (a < b ? -1 : 1));
  return createHash('sha256')
    .update(JSON.stringify([layout, sorted({ ...shape, limits: sorted(shape.limits) })]))
    .digest('hex')
    .slice(0, 12);
}
/** Changed when {@link taskTemplate} makes other tasks of the same shape. */
const layout = 3;

/**
 * Returns the service of single-use sandboxes for `POST /services/create`. Its tasks are isolated like sandboxes of the engine driver.
 * Services lack some of the options, so the supervisor itself mounts /sandbox and /tmp and makes an empty network namespace, then drops
 * the two capabilities that it needs for this.
 */
export function serviceSpec(
  names: ServiceNames,
  shape: TaskShape,
  refs: References,
  api: ApiVersion,
  excluded: readonly string[],
): Dockerode.CreateServiceOptions {
  return {
    Name: names.name,
    Labels: { ...names.labels },
    TaskTemplate: taskTemplate(names, shape, refs, api, excluded),
    Mode: { Replicated: { Replicas: 0 } },
    UpdateConfig: { Parallelism: 0, FailureAction: 'continue', Order: 'stop-first' },
    ...(refs.network === undefined && shape.limits.joins === undefined ? {} : { EndpointSpec: { Mode: 'dnsrr' } }),
  };
}

function taskTemplate(
  { name, stack }: ServiceNames,
  shape: TaskShape,
  refs: References,
  api: ApiVersion,
  excluded: readonly string[],
): Dockerode.ContainerTaskSpec {
  const { limits } = shape;
  const [sandbox, tmp] = [tmpfsBytes(limits.memory, '/sandbox'), tmpfsBytes(limits.memory, '/tmp')];
  return {
    ContainerSpec: {
      Image: shape.image,
      Command: [
        ...[supervisorPath, '--dial', shape.address, '--secret', secretPath, '--lifetime', String(shape.idleMs)],
        ...(limits.joins === undefined ? [] : ['--network', 'keep']),
        ...['--tmpfs', `/sandbox=${sandbox}`, '--tmpfs', `/tmp=${tmp}`],
      ],
      Env: [
        `KATAFLEET_SERVICE=${name}`,
        `KATAFLEET_SECRET=${refs.secret.name}`,
        'KATAFLEET_TASK={{.Task.ID}}',
        'KATAFLEET_NODE={{.Node.ID}}',
      ],
      Labels: { [labels.role]: 'sandbox', [labels.stack]: stack },
      // Without it a task on the host's network would show the host's name to the user's code.
      Hostname: '{{.Task.ID}}',
      ...names(shape),
      User: '0:0',
      Dir: '/',
      ReadOnly: true,
      Init: false,
      TTY: false,
      OpenStdin: false,
      HealthCheck: { Test: ['NONE'] },
      StopSignal: 'SIGTERM',
      StopGracePeriod: stopGraceNs,
      CapabilityDrop: ['ALL'],
      CapabilityAdd: [...capabilities, 'SYS_ADMIN', 'NET_ADMIN'].map((capability) => `CAP_${capability}`),
      ...(atLeast(api, [1, 44]) ? { Privileges: { NoNewPrivileges: true } as Dockerode.Privileges } : {}),
      Ulimits: [...ulimits],
      Mounts: [
        writable('/sandbox', sandbox, shape, api),
        writable('/tmp', tmp, shape, api),
        tmpfs('/dev/shm', Math.max(limits.shm, leastShm), limits.shm === 0 ? 0o755 : 0o1777),
        ...shape.volumes.filter((at) => at !== '/sandbox' && at !== '/tmp').map((at) => tmpfs(at, 4096, 0o755)),
      ],
      Configs: [
        { ConfigID: refs.config.id, ConfigName: refs.config.name, File: { Name: supervisorPath, UID: '0', GID: '0', Mode: 0o555 } },
      ],
      Secrets: [{ SecretID: refs.secret.id, SecretName: refs.secret.name, File: { Name: secretPath, UID: '0', GID: '0', Mode: 0o400 } }],
    },
    Resources: {
      Limits: { MemoryBytes: limits.memory, NanoCPUs: Math.round(limits.cpus * 1e9), Pids: limits.pids },
      Reservations: { MemoryBytes: limits.memory },
    },
    RestartPolicy: { Condition: 'any', Delay: 0 },
    Placement: placement(shape, excluded, limits.machines),
    LogDriver: { Name: 'none' },
    Networks: [{ Target: limits.joins ?? refs.network ?? 'host' }],
  };
}

/**
 * Sets the content of hosts and resolv.conf, which would else have the machine's names on its network. Once it has dialled, the
 * supervisor mounts its own over them, if it may mount. Until then it needs a resolver only to dial a name.
 */
function names({ limits, way, address }: TaskShape): object {
  if (limits.joins !== undefined) return {};
  const literal = /^(\d{1,3}\.){3}\d{1,3}:\d+$|^\[/.test(address);
  const resolver = way === 'host' && literal ? { Nameservers: [noResolver.server] } : {};
  const resolves = way === 'overlay' || literal ? { DNSConfig: { ...resolver, Search: [noResolver.search] } } : {};
  return { Hosts: [`127.0.0.1 ${hostName}`], ...resolves };
}

/** Keys that a swarm itself defines; all other keys are labels of its nodes. */
const ownWords: readonly string[] = ['node.id', 'node.hostname', 'node.role'];

/** Writes a constraint over a machine's labels as the swarm does. @throws limits.invalid if the swarm cannot express it */
export function swarmConstraint(constraint: string): string {
  const { key, equal, value } = splitConstraint(constraint);
  if (!hasSwarmWords(constraint)) {
    throw new KatafleetError('limits.invalid', `constraints: a swarm can't check ${JSON.stringify(constraint)}`, {
      hint: 'labels of its nodes are asked for by a name of two letters or more and a value of letters, digits and : - _ . /',
    });
  }
  return `${ownWords.includes(key) ? key : `node.labels.${key}`}${equal ? '==' : '!='}${value}`;
}

/** Returns where tasks may be placed: on nodes of the image's architecture that are not known to lack it and satisfy the constraints. */
export function placement(
  { architecture }: Pick<TaskShape, 'architecture'>,
  excluded: readonly string[],
  constraints: readonly string[] = [],
): Dockerode.Placement {
  return {
    Constraints: [...excluded.map((node) => `node.id!=${node}`), ...constraints.map(swarmConstraint)],
    Platforms: [
      { OS: 'linux', Architecture: architecture },
      { OS: 'linux', Architecture: platforms[architecture] },
    ],
  };
}

/** Returns the mount under the supervisor's own tmpfs, or the one to use if AppArmor forbids the supervisor to mount. */
function writable(target: '/sandbox' | '/tmp', bytes: number, { appArmor }: TaskShape, api: ApiVersion): Dockerode.MountSettings {
  const exec = atLeast(api, [1, 46]); // in older versions a service's tmpfs is always noexec
  if (appArmor && !exec) return { Type: 'volume', Target: target, Source: '' };
  const mount = tmpfs(target, bytes, target === '/tmp' ? 0o1777 : 0o755);
  return exec ? ({ ...mount, TmpfsOptions: { ...mount.TmpfsOptions, Options: [['exec']] } } as Dockerode.MountSettings) : mount;
}

function tmpfs(target: string, bytes: number, mode: number): Dockerode.MountSettings {
  return { Type: 'tmpfs', Target: target, TmpfsOptions: { SizeBytes: bytes, Mode: mode } } as Dockerode.MountSettings;
}
