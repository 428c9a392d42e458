import type { Fingerprint } from '../drivers/contract.ts';

/** One thing that `katafleet doctor` looked at. */
export interface Finding {
  what: string;
  /** `bad` stops katafleet; `weak` makes it do less, or less safely. */
  state: 'good' | 'weak' | 'bad';
  /** The command that mends it, or what to do. */
  mend?: string;
}

/**
 * Which limits of memory and processes an engine's kernel enforces. `state` of what lets a run take all of the node's
 * memory: swap gets round a limit, unless it is known that there is none.
 */
export function limits({ enforces }: Fingerprint, state: { memory: 'weak' | 'bad'; swap: 'weak' | 'bad' }): Finding[] {
  return [
    limit(enforces.memory, 'memory', state.memory, 'boot with cgroup_enable=memory swapaccount=1'),
    limit(enforces.swap, 'swap', state.swap, 'boot with swapaccount=1, or swapoff -a'),
    limit(enforces.pids, 'process', 'weak', 'use a kernel with CONFIG_CGROUP_PIDS'),
  ];
}

export function limit(holds: boolean, name: string, state: 'weak' | 'bad', mend: string): Finding {
  return holds
    ? { what: `${name} limits are enforced`, state: 'good' }
    : { what: `${name} limits are not enforced by this kernel`, state, mend };
}
