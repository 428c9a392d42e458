import { z } from 'zod';
import type { Fingerprint } from '../contract.ts';
import type { ApiVersion } from './version.ts';

/** What is read of `GET /info`; whatever an older engine doesn't tell is absent. */
const Info = z.object({
  Name: z.string().default('unknown'),
  ServerVersion: z.string().default('unknown'),
  Architecture: z.string().default(''),
  NCPU: z.number().default(1),
  MemTotal: z.number().default(0),
  KernelVersion: z.string().default('unknown'),
  CgroupVersion: z.string().optional(),
  MemoryLimit: z.boolean().default(false),
  SwapLimit: z.boolean().default(false),
  // Since API 1.40; before it the engine doesn't say, and a kernel without the controller makes it warn at the create.
  PidsLimit: z.boolean().default(true),
  CpuCfsQuota: z.boolean().default(false),
  SecurityOptions: z.array(z.string()).nullish(),
  Swarm: z.object({ LocalNodeState: z.string().default('inactive'), ControlAvailable: z.boolean().default(false) }).nullish(),
});

const architectures: Record<string, Fingerprint['architecture']> = { x86_64: 'amd64', amd64: 'amd64', aarch64: 'arm64', arm64: 'arm64' };

/** A node's fingerprint from the engine's answer to `GET /info`. */
export function fingerprint(answer: object, api: ApiVersion): Fingerprint {
  const info = Info.parse(answer);
  return {
    node: info.Name,
    engineVersion: info.ServerVersion,
    apiVersion: api.join('.'),
    architecture: architectures[info.Architecture] ?? 'other',
    cpus: info.NCPU,
    memory: info.MemTotal,
    kernel: info.KernelVersion,
    cgroupVersion: info.CgroupVersion === '1' || info.CgroupVersion === '2' ? info.CgroupVersion : 'unknown',
    enforces: { memory: info.MemoryLimit, swap: info.SwapLimit, pids: info.PidsLimit, cpu: info.CpuCfsQuota },
    seccomp: (info.SecurityOptions ?? []).some((option) => option.includes('seccomp')),
    swarm: info.Swarm?.LocalNodeState !== 'active' ? 'inactive' : info.Swarm.ControlAvailable ? 'manager' : 'worker',
  };
}
