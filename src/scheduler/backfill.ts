import type { ClusterNode } from './place/cluster-node.ts';
import type { Wanted } from './place/filters.ts';

/** When a held run can start at the latest, ms, and how much memory is left beside it then, bytes. */
export interface Reservation {
  at: number;
  spare: number;
}

/**
 * Returns when a run of this size fits on the node at the latest. Idle and kept sandboxes give way at once. Memory of which it is not
 * known when it comes back counts as coming back now: that is the cautious side, because then fewer other runs are let in.
 */
export function reservation(node: ClusterNode, memory: number, now: number): Reservation {
  const stays = Array.from(node.stays, (stay) => ({ bytes: stay.memory, at: Math.max(now, stay.endsBy ?? now) }));
  stays.sort((a, b) => a.at - b.at);
  let free = node.memory - node.others - stays.reduce((sum, { bytes }) => sum + bytes, 0);
  let at = now;
  for (const stay of stays) {
    if (stay.at > at) {
      if (free >= memory) break;
      at = stay.at;
    }
    free += stay.bytes;
  }
  return { at, spare: free - memory };
}

/**
 * Whether a run may use memory that is held for another one (EASY backfill: Lifka, _The ANL/IBM SP Scheduling System_, 1995): it has
 * ended before the other can start, or leaves enough room beside it. A run whose end is not known is not let in.
 */
export function mayFillIn({ at, spare }: Reservation, { memory, lastsMs }: Wanted, now: number): boolean {
  return lastsMs !== undefined && (memory <= spare || now + lastsMs <= at);
}
