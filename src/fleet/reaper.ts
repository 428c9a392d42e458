import { labels } from '../core/labels.ts';
import type { Driver, OwnedContainer } from '../drivers/contract.ts';
import { ownerIsGone } from './owner.ts';

export interface ReapView {
  /** Unix ms. */
  now: number;
  /** What the names of our own sandboxes begin with, before a slash. */
  fleet: string;
  /** Names of the sandboxes that we use or are making. */
  inUse: ReadonlySet<string>;
  gone?: (owner: string) => boolean;
}

/**
 * Why a container may be removed, or undefined. A killed katafleet leaves its sandboxes behind: they end by themselves
 * when their stream closes, but nobody removes them. The same with a living owner that has given its sandbox up, where
 * the engine could not remove it then. Whatever is past its deadline goes too, whoever made it.
 */
export function reapReason(container: OwnedContainer, { now, fleet, inUse, gone = ownerIsGone }: ReapView): string | undefined {
  const { [labels.deadline]: deadline, [labels.owner]: owner, [labels.sandbox]: name } = container.labels;
  if (name?.startsWith(`${fleet}/`) && !inUse.has(name)) return 'its owner has given it up';
  if (owner !== undefined && gone(owner)) return 'the process that made it is gone';
  if (deadline !== undefined && Number(deadline) < now) return 'it is past its deadline';
  return undefined;
}

/** Removes what {@link reapReason} gives up; tells how many. @throws engine.* */
export async function reap(driver: Driver, view: ReapView): Promise<number> {
  const doomed = (await driver.list()).filter((container) => reapReason(container, view) !== undefined);
  await Promise.all(doomed.map((container) => driver.remove(container.id)));
  return doomed.length;
}
