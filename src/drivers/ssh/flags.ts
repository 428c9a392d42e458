import { usualOpenFiles } from '../../model/profile.ts';
import { bytesPerInode, capabilities, hostName, leastShm, noResolver, supervisorPath, tmpfsBytes } from '../docker/isolation.ts';
import type { SandboxSpec } from '../contract.ts';
import { encodeValue } from './labels.ts';
import { type Release, since } from './parse/version.ts';

/** What is known of the node that a sandbox is made on. */
export interface NodeAbilities {
  release: Release;
  /** Path of the supervisor that is installed on the node, where it is the one that we want; else the image has it. */
  installedSupervisor?: string | undefined;
  /** Its kernel has memory limits; true if absent. */
  limitsMemory?: boolean;
}

/** CPU shares of one CPU; shares weigh, they don't cap. */
const sharesPerCpu = 1024;
const mostShares = 262_144;

/** Whether the container can have a limit on its processes (1.11); below it the program gets a uid of its own to be counted by. */
export const hasPidsLimit = (release: Release): boolean => since(release, 1, 11);
/** Whether the engine mounts a tmpfs (1.10); below it the supervisor does. */
const hasTmpfs = (release: Release): boolean => since(release, 1, 10);

/** The name of a sandbox's container, known before anything has answered. */
export function containerName(sandbox: string): string {
  return `katafleet-${sandbox.toLowerCase().replace(/[^a-z0-9-]/g, '-')}`;
}

/**
 * The words of `docker run` for a sandbox, by what the node's release knows. Their order and their form are what the gate
 * on the node admits (docs/legacy.md): every mandatory limit is there whatever the release.
 */
export function runWords(spec: SandboxSpec, { release, installedSupervisor, limitsMemory = true }: NodeAbilities): string[] {
  const { limits, labels, image } = spec;
  const memory = String(limits.memory);
  const files = limits.openFiles ?? usualOpenFiles;
  const [sandbox, tmp] = [tmpfsBytes(limits.memory, '/sandbox'), tmpfsBytes(limits.memory, '/tmp')];
  const mount = (at: string, bytes: number, mode: string) =>
    `${at}:rw,exec,nosuid,nodev,size=${bytes},nr_inodes=${Math.floor(bytes / bytesPerInode)},mode=${mode}`;
  return [
    ...['docker', 'run', '-i', '--name', containerName(spec.name)],
    // Without memory cgroups 1.6.2 drops -m with a warning, and then refuses --memory-swap for want of -m (its daemon/create.go).
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
    // Where a tmpfs is mounted on them these volumes are never made.
    ...['-v', '/sandbox', '-v', '/tmp'],
    ...(installedSupervisor === undefined ? [] : ['-v', `${installedSupervisor}:${supervisorPath}:ro`]),
    ...['--log-driver', 'none'],
    // A check of the image's own would run as root of the container.
    ...(since(release, 1, 12) ? ['--no-healthcheck'] : []),
    ...Object.entries(labels).flatMap(([name, value]) => ['-l', `${name}=${encodeValue(value)}`]),
    ...['--entrypoint', supervisorPath, imageWord(image.id, release)],
    ...['--lifetime', String(spec.idleMs)],
    ...(hasTmpfs(release) ? [] : ['--tmpfs', `/sandbox=${sandbox}`, '--tmpfs', `/tmp=${tmp}`, '--shm', String(limits.shm)]),
  ];
}

/** Where the engine mounts the folders the supervisor can't: then the engine writes hosts and resolv.conf, elsewhere the supervisor. */
const names = ['--add-host', `${hostName}:127.0.0.1`, '--dns', noResolver.server, '--dns-search', noResolver.search];

/** /dev/shm has a size since 1.10, and is left out since 17.12. */
function sharedMemory(bytes: number, release: Release): string[] {
  if (!since(release, 1, 10)) return [];
  return bytes === 0 && since(release, 17, 12) ? ['--ipc', 'none'] : ['--shm-size', String(Math.max(bytes, leastShm))];
}

/** An id as this release takes it: the prefix came with content addresses, in 1.10. */
export function imageWord(id: string, release: Release): string {
  return since(release, 1, 10) ? id : id.replace(/^sha256:/, '');
}
