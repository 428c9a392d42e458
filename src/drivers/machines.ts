import type { Machine } from '../model/node.ts';

/** Memory and CPUs of a group of machines, and of the largest of it: no sandbox is larger. Bytes. */
export interface Capacity {
  memory: number;
  cpus: number;
  largest: { memory: number; cpus: number };
}

export function capacityOf(machines: readonly Pick<Machine, 'memory' | 'cpus'>[]): Capacity {
  const sum = { memory: 0, cpus: 0, largest: { memory: 0, cpus: 0 } };
  for (const { memory, cpus } of machines) {
    sum.memory += memory;
    sum.cpus += cpus;
    sum.largest.memory = Math.max(sum.largest.memory, memory);
    sum.largest.cpus = Math.max(sum.largest.cpus, cpus);
  }
  return sum;
}

/** Whether it takes sandboxes now. */
export const takesTasks = ({ state, availability }: Pick<Machine, 'state' | 'availability'>): boolean =>
  state === 'ready' && availability === 'active';
