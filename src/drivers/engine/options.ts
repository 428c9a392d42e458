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
import { containerName } from '../docker/container-name.ts';
import { type ApiVersion, atLeast } from '../docker/version.ts';

/**
 * Returns the engine's options for a sandbox, as far as the API version has them. `network` is the Docker network for limits with
 * `rsync`. A container on it also gets CAP_SYS_ADMIN and NET_ADMIN: the supervisor makes an empty network namespace for the user's
 * steps, and drops both before the first step. A profile's own network needs neither.
 * @throws rsync.off if the limits need `network` and it is absent
 */
export function createOptions(spec: SandboxSpec, api: ApiVersion, network?: string, tries: Tries = {}): ContainerCreateOptions {
  const { limits } = spec;
  const { loopback6, mark } = tries;
  const added = [...capabilities, ...(mark ? [markCapability] : []), ...(limits.network === undefined ? [] : ['SYS_ADMIN', 'NET_ADMIN'])];
  const joins = limits.network === undefined ? (limits.joins ?? 'none') : network;
  if (joins === undefined) throw new KatafleetError('rsync.off', 'this node has no network for sandboxes that fetch by rsync');
  const noShm = limits.shm === 0 && atLeast(api, [1, 32]);
  return {
    name: containerName(spec.name, limits.memory),
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
      // Never sets NetworkDisabled: the engine would then write neither hosts nor resolv.conf.
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

/** Options that an engine may refuse. */
export interface Tries {
  /** Turns on ::1 in a sandbox without a network, if the kernel has IPv6. Engines before 26 turn it off. */
  loopback6?: boolean;
  /** Gives the supervisor the capability to set its oom_score_adj to the lowest value. */
  mark?: boolean;
}

/** A sysctl of the network namespace. A kernel without IPv6 does not have it. */
const ipv6Off = 'net.ipv6.conf.lo.disable_ipv6';

/** Whether an engine could not start a sandbox because of {@link Tries.loopback6}. */
export const refusesIpv6 = (error: unknown): boolean => /net[./]ipv6/.test(messageOf(error));

/**
 * Whether an engine could not start a sandbox because of {@link Tries.mark}: it can't give a capability that it does not have itself.
 * runc says "unable to apply caps", Docker "invalid CapAdd: capability not supported"; crun names the system call.
 */
export const refusesMark = (error: unknown): boolean => /\bcaps?\b|\bcapset\b|capabilit|bounding|CAP_SYS_RESOURCE/i.test(messageOf(error));

/** Sets the content of hosts and resolv.conf: nothing of the machine's, unless the program has a network. */
function names(joins: string, fetches: boolean): object {
  const own = { ExtraHosts: [`${hostName}:127.0.0.1`] };
  if (joins === 'none') return { ...own, Dns: [noResolver.server], DnsSearch: [noResolver.search] };
  return fetches ? { ...own, DnsSearch: [noResolver.search] } : {};
}

function tmpfs(memory: number, at: '/sandbox' | '/tmp', mode: string): string {
  const size = tmpfsBytes(memory, at);
  // The supervisor gives /sandbox to the user when OPEN names the user.
  return `rw,exec,nosuid,nodev,size=${size},nr_inodes=${Math.floor(size / bytesPerInode)},mode=${mode}`;
}

/** Mounts one page of tmpfs over each volume of the image, which would otherwise be a writable folder on the node's disk. */
function coverVolumes(volumes: readonly string[], api: ApiVersion): object {
  const targets = volumes.filter((target) => target !== '/sandbox' && target !== '/tmp');
  if (targets.length === 0 || !atLeast(api, [1, 25])) return {};
  return { Mounts: targets.map((Target) => ({ Type: 'tmpfs', Target, TmpfsOptions: { SizeBytes: 4096, Mode: 0o755 } })) };
}
