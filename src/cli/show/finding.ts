import { lacksLandlock, markCapability } from '../../drivers/docker/isolation.ts';
import type { Fingerprint } from '../../drivers/contract.ts';

/** One thing that `katafleet doctor` looked at. */
export interface Finding {
  what: string;
  /** `bad` stops katafleet; `weak` makes it do less, or less safely. */
  state: 'good' | 'weak' | 'bad';
  /** The command that mends it, or what to do. */
  mend?: string;
}

/**
 * Whether a node answers as soon as the fleet wants it. `tookMs`: from the call to all that a probe asks, connecting included;
 * the fleet waits twice `health.timeout` for that.
 */
export function answerTime(tookMs: number, timeoutMs: number): Finding {
  const took = `it took ${Math.round(tookMs)} ms to say what it is`;
  const waits = `the fleet waits ${2 * timeoutMs} ms, twice health.timeout`;
  if (tookMs <= timeoutMs) return { what: took, state: 'good' };
  const mend = `health: { timeout: ${Math.ceil((2 * tookMs) / 1000)}s } in katafleet.yaml`;
  return tookMs > 2 * timeoutMs
    ? { what: `${took}, and ${waits}: it would be down`, state: 'bad', mend }
    : { what: `${took}: ${waits}`, state: 'weak', mend };
}

/**
 * Which limits of memory and processes an engine's kernel enforces. `state` of what lets a run take all of the node's
 * memory: swap gets round a limit, unless it is known that there is none. `swapoff`: whether a node without swap will do; over ssh
 * nobody sees that it has none.
 */
export function limits({ enforces }: Fingerprint, state: { memory: 'weak' | 'bad'; swap: 'weak' | 'bad' }, swapoff = true): Finding[] {
  return [
    limit(enforces.memory, 'memory', state.memory, 'boot with cgroup_enable=memory swapaccount=1'),
    limit(enforces.swap, 'swap', state.swap, `boot with swapaccount=1${swapoff ? ', or swapoff -a' : ''}`),
    limit(enforces.pids, 'process', 'weak', 'use a kernel with CONFIG_CGROUP_PIDS'),
  ];
}

export function limit(holds: boolean, name: string, state: 'weak' | 'bad', mend: string): Finding {
  return holds
    ? { what: `${name} limits are enforced`, state: 'good' }
    : { what: `${name} limits are not enforced by this kernel`, state, mend };
}

/**
 * Whether a node's kernel keeps a program from having it end the supervisor for memory, which loses the run's output: by
 * Landlock, or by a capability that only the engine driver asks for and not every engine can give. Nothing where the kernel's release
 * can't be read.
 */
export function landlock({ kernel }: Pick<Fingerprint, 'kernel'>, asks: boolean): Finding[] {
  if (!lacksLandlock(kernel)) return [];
  const unless = asks ? `, unless the engine can give sandboxes CAP_${markCapability}` : '';
  return [
    {
      what: `Linux ${kernel}: a program can have the kernel end its supervisor when memory runs out, and its output is lost then${unless}`,
      state: 'weak',
      mend: 'use Linux 5.19 or later, with landlock among its security modules',
    },
  ];
}

/** What a core_pattern (core(5)) means for programs that crash. Those of sandboxes over ssh have no limit that it heeds. */
export function coreDumps(pattern: string): Finding[] {
  if (!/^[|@]/.test(pattern)) return [];
  return [
    {
      what: `core dumps of this machine go to a handler (${pattern.trim().split(/\s/)[0] ?? ''}): on a node over ssh each crash of a program starts it, outside the sandbox`,
      state: 'weak',
      mend: 'sysctl -w kernel.core_pattern=core, on this machine where it is such a node and on others that are',
    },
  ];
}
