import { Katafleet, type KatafleetOptions, type MemberSettings } from '../../src/app/library.ts';
import type { Testbed } from './testbed.ts';

/** A host of the testbed as a node over ssh, under its own name. */
export function sshNode(bed: Testbed, host: string, more: Partial<MemberSettings> = {}): MemberSettings {
  return {
    name: host,
    endpoint: bed.sshEndpoint(host),
    ssh: { config: bed.sshConfig, keepaliveMs: 1_000 },
    labels: { host },
    driver: 'auto',
    reserve: { share: 0 },
    withoutMemoryLimits: false,
    cordoned: false,
    ...more,
  };
}

/** Opens a fleet of such nodes that looks at them often. */
export async function sshFleet(nodes: MemberSettings[], options: KatafleetOptions = {}): Promise<Katafleet> {
  const health = { intervalMs: 500, timeoutMs: 4_000, failures: 2, successes: 1 };
  const fleet = new Katafleet({ nodes, health, attempts: 5, patient: true, ...options });
  try {
    await fleet.open();
    return fleet;
  } catch (error) {
    await fleet.close();
    throw error;
  }
}
