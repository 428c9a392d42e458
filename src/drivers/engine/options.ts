import type { ContainerCreateOptions } from 'dockerode';
import { KatafleetError, messageOf } from '../../model/errors.ts';
import type { SandboxSpec } from '../contract.ts';
import {
  bytesPerInode,
  capabilities,
  hostName,
  leastShm,
  markCapability,
  noResolver,
  supervisorPath,
  tmpfsBytes,
  ulimits,
} from '../docker/isolation.ts';
import { type ApiVersion, atLeast } from '../docker/version.ts';

/**
 * The engine's options for a sandbox, of what the given API version knows. `network` is the Docker network that the limits'
 * `rsync` stands for: a container on it has CAP_SYS_ADMIN beside, and NET_ADMIN, with which the supervisor makes an empty
 * network namespace for the steps of the user's and which it gives up before the first of them. On the network that a profile gives its programs it needs none.
 * @throws rsync.off when there is none
 */
export function createOptions(spec: SandboxSpec, api: ApiVersion, network?: string, tries: Tries = {}): ContainerCreateOptions {
  const { limits } = spec;
  const { loopback6, mark } = tries;
  const added = [...capabilities, ...(mark ? [markCapability] : []), ...(limits.network === undefined ? [] : ['SYS_ADMIN', 'NET_ADMIN'])];
  const joins = limits.network === undefined ? (limits.joins ?? 'none') : network;
  if (joins === undefined) throw new KatafleetError('rsync.off', 'this node has no network for sandboxes that fetch by rsync');
  const noShm = limits.shm === 0 && atLeast(api, [1, 32]);
  return {
    Image: spec.image.id,
    Entrypoint: [supervisorPath, '--lifetime', String(spec.idleMs)],
    Cmd: [],
    User: '0:0',
    WorkingDir: '/',
    Labels: { ...spec.labels },
    Tty: false,
    OpenStdin: true,
    StdinOnce: true,
    AttachStdin: true,
    AttachStdout: true,
    AttachStderr: true,
    Hostname: hostName,
    Healthcheck: { Test: ['NONE'] },
    HostConfig: {
      // No NetworkDisabled where there is none: the engine would write neither hosts nor resolv.conf.
      NetworkMode: joins,
      ...names(joins, limits.network !== undefined),
      ...(loopback6 && joins === 'none' && atLeast(api, [1, 24]) ? { Sysctls: { [ipv6Off]: '0' } } : {}),
      Memory: limits.memory,
      MemorySwap: limits.memory,
      PidsLimit: limits.pids,
      ...(atLeast(api, [1, 25])
        ? { NanoCpus: Math.round(limits.cpus * 1e9) }
        : { CpuPeriod: 100_000, CpuQuota: Math.max(1_000, Math.round(limits.cpus * 100_000)) }),
      Ulimits: [...ulimits],
      ReadonlyRootfs: true,
      Tmpfs: { '/sandbox': tmpfs(limits.memory, '/sandbox', '0755'), '/tmp': tmpfs(limits.memory, '/tmp', '1777') },
      ...(noShm ? { IpcMode: 'none' } : { ShmSize: Math.max(limits.shm, leastShm) }),
      ...coverVolumes(spec.image.volumes, api),
      CapDrop: ['ALL'],
      CapAdd: added,
      SecurityOpt: ['no-new-privileges'],
      LogConfig: { Type: 'none', Config: {} },
      RestartPolicy: { Name: 'no' },
    },
  };
}

/** What an engine may refuse. */
export interface Tries {
  /** The kernel knows IPv6, and ::1 works in a sandbox without a network; engines before 26 turn it off there. */
  loopback6?: boolean;
  /** The supervisor gets the capability that makes its mark for the kernel's choice the least that a program may have. */
  mark?: boolean;
}

/** A setting of a network namespace's own; a kernel without IPv6 has none of the name. */
const ipv6Off = 'net.ipv6.conf.lo.disable_ipv6';

/** Whether that is why an engine could not start a sandbox. */
export const refusesIpv6 = (error: unknown): boolean => /net[./]ipv6/.test(messageOf(error));

/**
 * Whether that may be why an engine could not start a sandbox: it has not the capability itself, and cannot give it. runc says
 * "unable to apply caps", Docker "invalid CapAdd: capability not supported", crun names the system call.
 */
export const refusesMark = (error: unknown): boolean => /\bcaps?\b|\bcapset\b|capabilit|bounding|CAP_SYS_RESOURCE/i.test(messageOf(error));

/** What hosts and resolv.conf hold: nothing of the machine's, unless the program is on a network. */
function names(joins: string, fetches: boolean): object {
  const own = { ExtraHosts: [`${hostName}:127.0.0.1`] };
  if (joins === 'none') return { ...own, Dns: [noResolver.server], DnsSearch: [noResolver.search] };
  return fetches ? { ...own, DnsSearch: [noResolver.search] } : {};
}

function tmpfs(memory: number, at: '/sandbox' | '/tmp', mode: string): string {
  const size = tmpfsBytes(memory, at);
  // The supervisor gives /sandbox to the user, whom it learns when its run comes.
  return `rw,exec,nosuid,nodev,size=${size},nr_inodes=${Math.floor(size / bytesPerInode)},mode=${mode}`;
}

/** A volume of the image would be a writable folder on the node's disk: a page of tmpfs lies over it instead. */
function coverVolumes(volumes: readonly string[], api: ApiVersion): object {
  const targets = volumes.filter((target) => target !== '/sandbox' && target !== '/tmp');
  if (targets.length === 0 || !atLeast(api, [1, 25])) return {};
  return { Mounts: targets.map((Target) => ({ Type: 'tmpfs', Target, TmpfsOptions: { SizeBytes: 4096, Mode: 0o755 } })) };
}
