import type { OwnedContainer } from '../../drivers/contract.ts';
import { labels } from '../../model/labels.ts';
import { profileOf } from '../../model/profile.ts';

/** The memory limit that is assumed for a container that does not carry its own, bytes. */
const assumed = profileOf({}).memory;

/** Whether the container takes memory, or may soon: it has not ended. */
export const isAlive = ({ alive, running }: OwnedContainer): boolean => alive ?? running;

/** Whether a container is a sandbox that another owner made: another katafleet, or an earlier one. `fleet` begins our own names. */
export const isForeign = ({ labels: own }: OwnedContainer, fleet: string): boolean =>
  own[labels.role] === 'sandbox' && !(own[labels.sandbox] ?? '').startsWith(`${fleet}/`);

/** Bytes that a container may take by its limit. */
export const limitOf = ({ memory }: OwnedContainer): number => memory ?? assumed;

/** Returns the bytes that sandboxes of other owners may take on the node. */
export function othersMemory(all: readonly OwnedContainer[], fleet: string): number {
  return all.reduce((sum, one) => (isAlive(one) && isForeign(one, fleet) ? sum + limitOf(one) : sum), 0);
}
