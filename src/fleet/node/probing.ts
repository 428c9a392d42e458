import { KatafleetError } from '../../model/errors.ts';
import type { Driver, Fingerprint, Reached } from '../../drivers/contract.ts';
import type { DriverCalls } from './driver-calls.ts';

/** What answers at the endpoint. If the engine was probed for it, its fingerprint; if that failed, the error. */
export interface Reach {
  found: Reached;
  fingerprint?: Fingerprint;
  error?: KatafleetError;
}

/** Finds out what answers at a driver's endpoint. @throws engine.* if the driver itself finds out, and can't */
export async function reach(driver: Driver, calls: DriverCalls): Promise<Reach> {
  const { reach: ask } = driver;
  // If the endpoint supports several drivers, an error here is final, not a reason to try another.
  if (ask) return { found: await calls.within(calls.probeMs, () => ask.call(driver)) };
  try {
    const fingerprint = await calls.probe();
    return { found: { api: 'usable', fingerprint }, fingerprint };
  } catch (error) {
    if (!(error instanceof KatafleetError)) throw error;
    if (error.code === 'engine.too_old')
      return { found: { api: 'too_old', engineVersion: /Docker ([\w.]+)/.exec(error.message)?.[1] ?? '' }, error };
    return { found: { api: 'none', why: error.message }, error };
  }
}

/** Returns the error of a node whose kernel does not limit the memory of sandboxes. */
export function withoutLimits({ node, enforces }: Fingerprint): KatafleetError {
  const why = enforces.memory ? 'its kernel does not account for swap, so that programs could fill it' : 'its kernel has no memory cgroup';
  const boot = enforces.memory ? 'swapaccount=1' : 'cgroup_enable=memory swapaccount=1';
  return new KatafleetError('engine.limits', `the node ${node} does not enforce memory limits: ${why}`, {
    hint: `boot it with ${boot}, or use another node; withoutMemoryLimits: true lets it serve all the same`,
  });
}

/** Errors that only a change on the node can repair. */
const refusals: ReadonlySet<string> = new Set([
  'engine.too_old',
  'engine.limits',
  'engine.permission',
  'driver.unavailable',
  'docker.missing',
  'gate.refused',
  'ssh.host_key',
  'ssh.refused',
]);

/** Whether the node answers and must not serve. */
export const isRefusal = ({ code }: KatafleetError): boolean => refusals.has(code);
