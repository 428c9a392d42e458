import type { QueueEntry } from '../../src/scheduler/queue/entry.ts';

let made = 0;

/** A waiting run of the tenant `t` with 1 GiB, unless given otherwise. */
export function waiting(more: Partial<QueueEntry<undefined>> = {}): QueueEntry<undefined> {
  return {
    id: `run-${(made += 1)}`,
    tenant: 't',
    priority: 5,
    memory: 1024 ** 3,
    bytes: 10,
    shape: 's',
    since: 0,
    deadline: Infinity,
    value: undefined,
    ...more,
  };
}
