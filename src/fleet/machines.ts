import { KatafleetError } from '../core/errors.ts';
import type { NodeMember } from '../drivers/contract.ts';

/** `NODE/MACHINE` in its two parts; the machine is undefined for a node's name alone. */
export function splitMachine(name: string): { node: string; machine: string | undefined } {
  const at = name.indexOf('/');
  return at < 0 ? { node: name, machine: undefined } : { node: name.slice(0, at), machine: name.slice(at + 1) };
}

/** A machine by its host name, its id, or what only its id begins with. @throws node.unknown, with the machines that there are */
export function machineOf<T extends Pick<NodeMember, 'id' | 'name'>>(machines: readonly T[], node: string, wanted: string): T {
  const whole = machines.filter(({ id, name }) => id === wanted || name === wanted);
  const found = whole.length > 0 || wanted === '' ? whole : machines.filter(({ id }) => id.startsWith(wanted));
  const [only, another] = found;
  if (only && !another) return only;
  const list = (of: readonly T[]) => `${of.slice(0, 20).map(shown).join(', ')}${of.length > 20 ? ', …' : ''}`;
  const message = only
    ? `several machines of ${node} are meant by "${wanted}": ${list(found)}`
    : `no machine "${wanted}" behind ${node}; there are: ${list(machines)}`;
  throw new KatafleetError('node.unknown', message);
}

const shown = ({ id, name }: Pick<NodeMember, 'id' | 'name'>): string => `${name} (${id.slice(0, 12)})`;

/** Memory and CPUs of a group of machines, and of the largest of it: no sandbox is larger. Bytes. */
export interface Capacity {
  memory: number;
  cpus: number;
  largest: { memory: number; cpus: number };
}

export function capacityOf(machines: readonly Pick<NodeMember, 'memory' | 'cpus'>[]): Capacity {
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
export const takesTasks = ({ state, availability }: Pick<NodeMember, 'state' | 'availability'>): boolean =>
  state === 'ready' && availability === 'active';
