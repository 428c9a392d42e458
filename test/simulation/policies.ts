import type { Policy } from '../../src/scheduler/place/placement.ts';
import type { PoolBounds } from '../../src/scheduler/targets.ts';

/** What is compared. */
export interface Variant {
  name: string;
  what: string;
  pack: Policy['pack'];
  /** Bounds of each pool on each node that ran it, as katafleet has them for what nobody configured. */
  perNode: PoolBounds;
  /** Idle sandboxes for each node of the fleet, shared out over images by their popularity; as configured pools. */
  fleet?: PoolBounds;
  /** All tenants as one: first come, first served. */
  unfair?: true;
}

/** The first is what katafleet does by default. */
export const variants: readonly Variant[] = [
  { name: 'spread', what: 'least loaded node; pools follow demand, up to 8', pack: 'spread', perNode: { min: 0, max: 8 } },
  { name: 'binpack', what: 'fullest node that fits; the same pools', pack: 'binpack', perNode: { min: 0, max: 8 } },
  { name: 'cold', what: 'spread, no pools', pack: 'spread', perNode: { min: 0, max: 0 } },
  { name: 'small-pools', what: 'spread, pools up to 2', pack: 'spread', perNode: { min: 0, max: 2 } },
  { name: 'large-pools', what: 'spread, pools up to 32', pack: 'spread', perNode: { min: 0, max: 32 } },
  {
    name: 'fixed',
    what: 'spread, 8 idle for each node at all times, by popularity',
    pack: 'spread',
    perNode: { min: 0, max: 0 },
    fleet: { min: 8, max: 8 },
  },
  {
    name: 'floor',
    what: 'spread, pools follow demand from 2 for each node',
    pack: 'spread',
    perNode: { min: 0, max: 8 },
    fleet: { min: 2, max: 32 },
  },
  { name: 'unfair', what: 'as spread, first come, first served', pack: 'spread', perNode: { min: 0, max: 8 }, unfair: true },
];
