import { usualOpenFiles } from '../../model/profile.ts';
import { bytesPerInode, capabilities, hostName, leastShm, noResolver, supervisorPath, tmpfsBytes } from '../docker/isolation.ts';
import type { SandboxSpec } from '../contract.ts';
import { containerName } from '../docker/container-name.ts';
import { encodeValue } from './labels.ts';
import { type Release, since } from './parse/version.ts';

/** What the words of `docker run` depend on. */
export interface NodeAbilities {
  release: Release;
  /** Path of the supervisor that is installed on the node, if it is this katafleet's own; else the image has it. */
  installedSupervisor?: string | undefined;
  /** Whether its kernel has memory limits; true if absent. */
  limitsMemory?: boolean;
}

/** CPU shares of one CPU; shares are weights, not a limit. */
const sharesPerCpu = 1024;
const mostShares = 262_144;

/** Whether the container can have a limit on its processes (1.11). Below it the limit is on the sandbox's own uid. */
export const hasPidsLimit = (release: Release): boolean => since(release, 1, 11);
/** Whether the engine can mount a tmpfs (1.10). Below it the supervisor mounts it. */
const hasTmpfs = (release: Release): boolean => since(release, 1, 10);

/**
 * The words of `docker run` for a sandbox, with the options that the node's release has. The gate on the node admits them in this
 * order and form only (docs/legacy.md). Every mandatory limit is among them, for each release.
 */
export function runWords(spec: SandboxSpec, { release, installedSupervisor, limitsMemory = true }: NodeAbilities): string[] {
  const { limits, labels, image } = spec;
  const memory = String(limits.memory);
  const files = limits.openFiles ?? usualOpenFiles;
  const [sandbox, tmp] = [tmpfsBytes(limits.memory, '/sandbox'), tmpfsBytes(limits.memory, '/tmp')];
  const mount = (at: string, bytes: number, mode: string) =>
    `${at}:rw,exec,nosuid,nodev,size=${bytes},nr_inodes=${Math.floor(bytes / bytesPerInode)},mode=${mode}`;
  return [
    ...['docker', 'run', '-i', '--name', containerName(spec.name, spec.limits.memory)],
    // Without memory cgroups 1.6.2 drops -m with a warning, and then refuses --memory-swap because -m is missing (its daemon/create.go).
    ...['-m', memory, ...(limitsMemory ? ['--memory-swap', memory] : [])],
    ...['-c', String(Math.min(mostShares, Math.max(2, Math.round(limits.cpus * sharesPerCpu))))],
    ...(hasPidsLimit(release) ? ['--pids-limit', String(limits.pids)] : []),
    ...(hasTmpfs(release) ? ['--tmpfs', mount('/sandbox', sandbox, '0755'), '--tmpfs', mount('/tmp', tmp, '1777')] : []),
    // 1 byte of a core, not 0: see isolation.ts.
    ...['--ulimit', 'core=1:1', '--ulimit', `nofile=${files}:${files}`],
    ...['--net', 'none', '-h', hostName, ...(hasTmpfs(release) ? names : []), ...sharedMemory(limits.shm, release)],
    ...['--read-only', '-u', '0:0', '-w', '/', '--cap-drop', 'ALL'],
    ...capabilities.flatMap((capability) => ['--cap-add', capability]),
    ...(hasTmpfs(release) ? [] : ['--cap-add', 'SYS_ADMIN']),
    ...(since(release, 1, 11) ? ['--security-opt', 'no-new-privileges'] : []),
    // The engine does not make these volumes where it mounts a tmpfs.
    ...['-v', '/sandbox', '-v', '/tmp'],
    ...(installedSupervisor === undefined ? [] : ['-v', `${installedSupervisor}:${supervisorPath}:ro`]),
    ...['--log-driver', 'none'],
    // The image's own health check would run as root of the container.
    ...(since(release, 1, 12) ? ['--no-healthcheck'] : []),
    ...Object.entries(labels).flatMap(([name, value]) => ['-l', `${name}=${encodeValue(value)}`]),
    ...['--entrypoint', supervisorPath, imageWord(image.id, release)],
    ...['--lifetime', String(spec.idleMs)],
    ...(hasTmpfs(release) ? [] : ['--tmpfs', `/sandbox=${sandbox}`, '--tmpfs', `/tmp=${tmp}`, '--shm', String(limits.shm)]),
  ];
}

/** Where the engine mounts the folders, it writes hosts and resolv.conf too; elsewhere the supervisor writes them. */
const names = ['--add-host', `${hostName}:127.0.0.1`, '--dns', noResolver.server, '--dns-search', noResolver.search];

/** The size of /dev/shm can be set since 1.10; it can be left out since 17.12. */
function sharedMemory(bytes: number, release: Release): string[] {
  if (!since(release, 1, 10)) return [];
  return bytes === 0 && since(release, 17, 12) ? ['--ipc', 'none'] : ['--shm-size', String(Math.max(bytes, leastShm))];
}

/** An image's id as this release takes it: with the prefix `sha256:` since 1.10. */
export function imageWord(id: string, release: Release): string {
  return since(release, 1, 10) ? id : id.replace(/^sha256:/, '');
}
