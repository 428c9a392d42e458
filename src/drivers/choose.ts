import { type DriverKind, driverKinds, type DriverPolicy } from '../model/driver-kind.ts';
import type { Reached } from './contract.ts';
import { registry } from './registry.ts';

export type Choice =
  | { driver: DriverKind; why: string; passedOver: { driver: DriverKind; why: string }[] }
  | { driver: undefined; why: string; passedOver: { driver: DriverKind; why: string }[] };

/**
 * Chooses the driver of an endpoint: the first of {@link driverKinds} that fits, unless the policy names one. Pure. Gives the reason
 * for the chosen driver, and for each that was passed over before it.
 */
export function chooseDriver(endpoint: string, reached: Reached, policy: DriverPolicy): Choice {
  const passedOver: { driver: DriverKind; why: string }[] = [];
  for (const driver of policy === 'auto' ? driverKinds : [policy]) {
    const { fits, why } = registry[driver].fits(endpoint, reached);
    if (fits) return { driver, why, passedOver };
    passedOver.push({ driver, why });
  }
  const why = passedOver.map((one) => `${one.driver}: ${one.why}`).join('; ');
  return { driver: undefined, why: policy === 'auto' ? why : `the configuration wants ${why}`, passedOver };
}
