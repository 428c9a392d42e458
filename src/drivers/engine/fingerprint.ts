import { z } from 'zod';
import { KatafleetError } from '../../model/errors.ts';
import type { Fingerprint } from '../contract.ts';
import type { ApiVersion } from '../docker/version.ts';

/** The fields of `GET /info` that are read. An older engine lacks some of them. */
const Info = z.object({
  ID: z.string().default(''),
  Name: z.string().default('unknown'),
  ServerVersion: z.string().default('unknown'),
  Architecture: z.string().default(''),
  NCPU: z.number().default(1),
  MemTotal: z.number().default(0),
  KernelVersion: z.string().default('unknown'),
  CgroupVersion: z.string().optional(),
  MemoryLimit: z.boolean().default(false),
  SwapLimit: z.boolean().default(false),
  // Since API 1.40. An older engine does not report it, and warns at the create if the kernel lacks the controller.
  PidsLimit: z.boolean().default(true),
  CpuCfsQuota: z.boolean().default(false),
  SecurityOptions: z.array(z.string()).nullish(),
  Driver: z.string().default('unknown'),
  DefaultRuntime: z.string().default('runc'),
  Runtimes: z.record(z.string(), z.unknown()).nullish(),
  SystemTime: z.string().optional(),
  Swarm: z
    .object({
      LocalNodeState: z.string().default('inactive'),
      ControlAvailable: z.boolean().default(false),
      Cluster: z.object({ ID: z.string().default('') }).nullish(),
    })
    .nullish(),
});

const architectures: Record<string, Fingerprint['architecture']> = { x86_64: 'amd64', amd64: 'amd64', aarch64: 'arm64', arm64: 'arm64' };

/**
 * Returns a node's fingerprint from the engine's answer to `GET /info`, received at `now` (Unix ms).
 * @throws engine.failed if the answer is not of this form
 */
export function fingerprint(answer: unknown, api: ApiVersion, now: number): Fingerprint {
  const parsed = Info.safeParse(answer);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new KatafleetError(
      'engine.failed',
      `it does not answer as a Docker engine does: ${issue?.path.join('.') || 'answer'}: ${issue?.message ?? ''}`,
    );
  }
  const info = parsed.data;
  const time = Date.parse(info.SystemTime ?? '');
  return {
    node: info.Name,
    ...(info.ID === '' ? {} : { engineId: info.ID }),
    ...(info.Swarm?.Cluster?.ID ? { swarmId: info.Swarm.Cluster.ID } : {}),
    engineVersion: info.ServerVersion,
    apiVersion: api.join('.'),
    architecture: architectures[info.Architecture] ?? 'other',
    cpus: info.NCPU,
    memory: info.MemTotal,
    kernel: info.KernelVersion,
    cgroupVersion: info.CgroupVersion === '1' || info.CgroupVersion === '2' ? info.CgroupVersion : 'unknown',
    enforces: { memory: info.MemoryLimit, swap: info.SwapLimit, pids: info.PidsLimit, cpu: info.CpuCfsQuota },
    seccomp: (info.SecurityOptions ?? []).some((option) => option.includes('seccomp')),
    storage: info.Driver,
    runtimes: [
      info.DefaultRuntime,
      ...Object.keys(info.Runtimes ?? {}).filter((name) => name !== info.DefaultRuntime && !/^io\./.test(name)),
    ],
    clockSkewMs: Number.isNaN(time) ? undefined : Math.round(time - now),
    swarm: swarmState(info.Swarm),
  };
}

function swarmState(swarm: z.output<typeof Info>['Swarm']): Fingerprint['swarm'] {
  if (swarm?.LocalNodeState === 'locked') return 'locked';
  if (swarm?.LocalNodeState !== 'active') return 'inactive';
  return swarm.ControlAvailable ? 'manager' : 'worker';
}
