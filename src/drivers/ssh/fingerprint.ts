import type { Fingerprint } from '../contract.ts';
import type { InfoAnswer } from './parse/info.ts';
import { parseRelease, since, type VersionAnswer } from './parse/version.ts';

const architectures: Record<string, Fingerprint['architecture']> = { x86_64: 'amd64', amd64: 'amd64', aarch64: 'arm64', arm64: 'arm64' };

/** Makes a node's fingerprint from docker's answers. A limit counts as enforced unless a warning denies it. */
export function fingerprint(version: VersionAnswer, info: InfoAnswer): Fingerprint {
  const release = parseRelease(version.server);
  const denied = (what: RegExp) => info.warnings.some((warning) => what.test(warning));
  return {
    node: info.name,
    ...(info.id === undefined ? {} : { engineId: info.id }),
    engineVersion: version.server,
    apiVersion: version.api,
    architecture: architectures[version.architecture ?? ''] ?? architectures[info.machine ?? ''] ?? 'other',
    cpus: info.cpus,
    memory: info.memory,
    kernel: info.kernel,
    cgroupVersion: info.cgroupVersion,
    enforces: {
      memory: !denied(/no memory limit support/i),
      swap: !denied(/no swap limit support/i),
      // Below 1.11 the limit is on the uid's processes, which every kernel counts.
      pids: !denied(/no pids limit support/i),
      // CPU shares are weights, not a limit.
      cpu: false,
    },
    seccomp: since(release, 1, 10) && info.seccomp,
    swarm: info.swarm,
    storage: info.storage,
    runtimes: info.runtimes,
    clockSkewMs: undefined,
  };
}
