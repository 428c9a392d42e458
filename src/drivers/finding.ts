import { defined } from '../base/defined.ts';
import { KatafleetError, messageOf } from '../model/errors.ts';
import { lacksLandlock, markCapability } from './docker/isolation.ts';
import type { Fingerprint } from './contract.ts';

/** One fact that `katafleet doctor` prints. */
export interface Finding {
  what: string;
  /** `bad`: katafleet can't run. `weak`: it can do less, or is less safe. */
  state: 'good' | 'weak' | 'bad';
  /** The command that solves it, or what to do. */
  mend?: string;
}

/** An error as a finding: its hint says what to do. */
export function failure(error: unknown): Finding {
  const mend = error instanceof KatafleetError ? error.hint : undefined;
  return { what: messageOf(error), state: 'bad', ...defined({ mend }) };
}

/** What a driver's diagnosis compares a node with. */
export interface Expectations {
  /** The configuration's `health.timeout`, ms. */
  timeoutMs: number;
  /** Whether the configuration accepts the node without memory limits. */
  withoutMemoryLimits: boolean;
  /** Names of the recipes whose images the node should have. */
  images: readonly string[];
}

/**
 * Whether a node answers as fast as the fleet needs it. `tookMs`: from the call to the last answer of a probe, the time to connect
 * included. The fleet waits twice `health.timeout` for a probe.
 */
export function answerTime(tookMs: number, timeoutMs: number): Finding {
  const took = `the probe took ${Math.round(tookMs)} ms`;
  const waits = `the fleet waits ${2 * timeoutMs} ms, twice health.timeout`;
  if (tookMs <= timeoutMs) return { what: took, state: 'good' };
  const mend = `health: { timeout: ${Math.ceil((2 * tookMs) / 1000)}s } in katafleet.yaml`;
  return tookMs > 2 * timeoutMs
    ? { what: `${took}, and ${waits}: the node would be down`, state: 'bad', mend }
    : { what: `${took}: ${waits}`, state: 'weak', mend };
}

/**
 * Which limits of memory and processes an engine's kernel enforces. `state`: how bad it is when a run can take all of the node's
 * memory. A program evades a memory limit by swap, unless the node has none. `swapoff`: whether "has no swap" counts as an answer;
 * over ssh katafleet can't see that.
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
 * Whether a program can make the node's kernel kill the supervisor when memory runs out, which loses the run's output. Landlock
 * prevents it. `asks`: so does a capability that only the engine driver asks for, and that some engines can't give. No finding
 * where the kernel's release can't be read.
 */
export function landlock({ kernel }: Pick<Fingerprint, 'kernel'>, asks: boolean): Finding[] {
  if (!lacksLandlock(kernel)) return [];
  const unless = asks ? `, unless the engine can give sandboxes CAP_${markCapability}` : '';
  return [
    {
      what: `Linux ${kernel}: a program can make the kernel kill its supervisor when memory runs out, and its output is lost then${unless}`,
      state: 'weak',
      mend: 'use Linux 5.19 or later, with landlock among its security modules',
    },
  ];
}
