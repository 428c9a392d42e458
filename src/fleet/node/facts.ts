import { type DriverKind, sandboxNetworks } from '../../model/driver-kind.ts';
import { type Capacity, takesTasks } from '../../drivers/machines.ts';
import type { Fingerprint } from '../../drivers/contract.ts';
import { registry } from '../../drivers/registry.ts';
import type { Machine } from '../../model/node.ts';
import type { NodeFacts } from '../../scheduler/place/cluster-node.ts';
import type { NodeSettings } from './settings.ts';

/** The findings of a node's probe. */
export interface Found {
  fingerprint: Fingerprint;
  driver: DriverKind;
  /** Whether the driver lists machines behind the node. */
  severalMachines: boolean;
  /** Whether images can be copied to it. */
  canObtain: boolean;
  /** The machines behind it, once they are known, and the largest of them. */
  machines?: readonly Machine[];
  largestOfAll?: MachineSize;
}

type MachineSize = Capacity['largest'];
const unbounded: MachineSize = { memory: Infinity, cpus: Infinity };
const larger = (a: MachineSize, b: MachineSize): MachineSize => ({
  memory: Math.max(a.memory, b.memory),
  cpus: Math.max(a.cpus, b.cpus),
});

/** Returns a machine's labels, with those that a swarm itself gives it. */
export const machineLabels = ({ id, name, role, labels }: Machine): Record<string, string> => ({
  ...labels,
  'node.hostname': name,
  'node.id': id,
  'node.role': role,
});

/**
 * Whether the memory of sandboxes is limited. Without swap limits a program can exceed its memory limit, if the machine has swap.
 */
export const boundsMemory = ({ enforces }: Fingerprint, driver: DriverKind): boolean =>
  enforces.memory && (enforces.swap || !registry[driver].abilities.needsSwapLimits);

/** Returns the scheduler's facts about a node that is not probed yet. */
export const unprobedFacts = ({ name, labels }: NodeSettings): NodeFacts => ({
  name,
  probed: false,
  architecture: 'other',
  labels,
  cpus: 0,
  memory: 0,
  total: 0,
  driver: undefined,
  networks: sandboxNetworks,
  severalMachines: false,
  memoryLimits: 'missing',
  canObtain: false,
});

/** Returns the scheduler's facts about a probed node. Until its largest machine is known, no run counts as too large for it. */
export function nodeFacts({ name, labels, withoutMemoryLimits, reserve }: NodeSettings, found: Found): NodeFacts {
  const { driver, fingerprint, machines, largestOfAll, severalMachines, canObtain } = found;
  const { memory, cpus, architecture, largest } = fingerprint;
  const left = 'bytes' in reserve ? reserve.bytes : Math.round(memory * reserve.share);
  const bookable = Math.max(0, memory - left);
  // The same share of each machine stays free.
  const part = ({ memory: whole, cpus: each }: MachineSize) => ({
    memory: memory > 0 ? Math.floor(whole * (bookable / memory)) : whole,
    cpus: each,
  });
  const unknown = severalMachines ? unbounded : undefined;
  const laidOver = (machine: Machine) => ({ ...machineLabels(machine), ...labels });
  return {
    name,
    probed: true,
    architecture,
    labels,
    ...(machines ? { machines: machines.filter(takesTasks).map(laidOver), machinesOfAll: machines.map(laidOver) } : {}),
    cpus,
    total: memory,
    memory: bookable,
    ...(largest
      ? {
          largest: part(largest),
          largestOfAll: largestOfAll ? part(larger(largest, largestOfAll)) : (unknown ?? part(largest)),
        }
      : {}),
    driver,
    networks: registry[driver].abilities.networks,
    severalMachines,
    memoryLimits: boundsMemory(fingerprint, driver) ? 'enforced' : withoutMemoryLimits ? 'waived' : 'missing',
    canObtain,
  };
}
