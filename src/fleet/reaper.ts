import { labels } from '../core/labels.ts';
import type { Driver, OwnedContainer } from '../drivers/contract.ts';
import { ownerIsGone } from './owner.ts';

/**
 * Why a container may be removed, or undefined. A killed katafleet leaves its sandboxes behind: they end by themselves
 * when their stream closes, but nobody removes them. Whatever is past its deadline goes too, whoever made it.
 */
export function reapReason(container: OwnedContainer, now: number, gone: (owner: string) => boolean = ownerIsGone): string | undefined {
  const { [labels.deadline]: deadline, [labels.owner]: owner } = container.labels;
  if (owner !== undefined && gone(owner)) return 'the process that made it is gone';
  if (deadline !== undefined && Number(deadline) < now) return 'it is past its deadline';
  return undefined;
}

/** Removes what {@link reapReason} gives up; tells how many. @throws engine.* */
export async function reap(driver: Driver, now: number): Promise<number> {
  const doomed = (await driver.list()).filter((container) => reapReason(container, now) !== undefined);
  await Promise.all(doomed.map((container) => driver.remove(container.id)));
  return doomed.length;
}
