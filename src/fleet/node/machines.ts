import { listed } from '../../base/listed.ts';
import { KatafleetError } from '../../model/errors.ts';
import type { Machine } from '../../model/node.ts';

/** Splits `NODE/MACHINE`; the machine is undefined if there is only a node's name. */
export function splitMachine(name: string): { node: string; machine: string | undefined } {
  const at = name.indexOf('/');
  return at < 0 ? { node: name, machine: undefined } : { node: name.slice(0, at), machine: name.slice(at + 1) };
}

/** Finds a machine by its host name, its id, or the unique beginning of its id. @throws node.unknown, with a list of the machines */
export function machineOf<T extends Pick<Machine, 'id' | 'name'>>(machines: readonly T[], node: string, wanted: string): T {
  const whole = machines.filter(({ id, name }) => id === wanted || name === wanted);
  const found = whole.length > 0 || wanted === '' ? whole : machines.filter(({ id }) => id.startsWith(wanted));
  const [only, another] = found;
  if (only && !another) return only;
  const list = (of: readonly T[]) => listed(of.map(shown), 20);
  const message = only
    ? `several machines of ${node} are meant by "${wanted}": ${list(found)}`
    : `no machine "${wanted}" behind ${node}; there are: ${list(machines)}`;
  throw new KatafleetError('node.unknown', message);
}

const shown = ({ id, name }: Pick<Machine, 'id' | 'name'>): string => `${name} (${id.slice(0, 12)})`;
