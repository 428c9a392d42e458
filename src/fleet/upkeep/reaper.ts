import { KatafleetError } from '../../model/errors.ts';
import { labels } from '../../model/labels.ts';
import type { Driver, OwnedContainer } from '../../drivers/contract.ts';
import { ownerIsGone } from '../node/owner.ts';

export interface ReapView {
  /** Unix ms. */
  now: number;
  /** What the names of our own sandboxes begin with, before a slash. */
  fleet: string;
  /** Names of the sandboxes that we use or are making. */
  inUse: ReadonlySet<string>;
  /** The journal that we keep, if any. */
  journal?: JournalIdentity | undefined;
  /** How long past its deadline, or after its end, a container may stay, ms. */
  graceMs?: number;
  /** When each container that has ended was first seen so, Unix ms. */
  endedSince?: ReadonlyMap<string, number>;
  gone?: (owner: string) => boolean;
}

/** One journal has one katafleet at a time: a container with its identity and an older epoch has no owner. */
export interface JournalIdentity {
  identity: string;
  epoch: number;
}

/** A container that is to go, and why. */
export interface Doomed {
  id: string;
  name: string | undefined;
  running: boolean;
  why: string;
}

/**
 * Why a container may be removed, or undefined. A killed katafleet leaves its sandboxes behind: they end by themselves
 * when their stream closes, but no process removes them. The same holds for a living owner that gave its sandbox up when the
 * engine could not remove it. A container that is past its deadline goes too, whatever made it.
 */
export function reapReason(container: OwnedContainer, view: ReapView): string | undefined {
  const { now, fleet, inUse, journal, graceMs = 0, gone = ownerIsGone } = view;
  const { [labels.deadline]: deadline, [labels.owner]: owner, [labels.sandbox]: name } = container.labels;
  if (name?.startsWith(`${fleet}/`)) return inUse.has(name) ? undefined : 'its owner has given it up';
  const { [labels.fleet]: identity, [labels.epoch]: epoch } = container.labels;
  if (journal && identity === journal.identity && Number(epoch) < journal.epoch) return 'it was made before katafleet was started again';
  if (owner !== undefined && gone(owner)) return 'the process that made it is gone';
  if (deadline !== undefined && Number(deadline) + graceMs < now) return 'it is past its deadline';
  const ended = view.endedSince?.get(container.id);
  if (ended !== undefined && ended + graceMs < now) return 'it has ended and its owner does not remove it';
  return undefined;
}

/** Returns the containers on a node that may be removed. @throws engine.* */
export async function reapPlan(driver: Driver, view: ReapView & { endedSince?: Map<string, number> }): Promise<Doomed[]> {
  const all = await driver.list();
  const { endedSince } = view;
  if (endedSince) {
    const there = new Set(all.map(({ id }) => id));
    for (const id of endedSince.keys()) if (!there.has(id)) endedSince.delete(id);
    for (const { id, running } of all) if (!running && !endedSince.has(id)) endedSince.set(id, view.now);
  }
  return all.flatMap((container) => {
    const why = reapReason(container, view);
    return why === undefined ? [] : [{ id: container.id, name: container.labels[labels.sandbox], running: container.running, why }];
  });
}

/**
 * Removes what {@link reapPlan} gives up. One that has ended and that the engine can't remove takes no memory: it is left for
 * the next time, with the reason. @throws engine.* for one that still runs, or where the engine does not answer
 */
export async function reap(
  driver: Driver,
  view: ReapView & { endedSince?: Map<string, number> },
): Promise<{ removed: Doomed[]; left: (Doomed & { error: KatafleetError })[] }> {
  const doomed = await reapPlan(driver, view);
  const left: (Doomed & { error: KatafleetError })[] = [];
  const removals = doomed.map(async (one) => {
    try {
      await driver.remove(one.id);
    } catch (error) {
      if (one.running || !(error instanceof KatafleetError) || error.code !== 'engine.failed') throw error;
      left.push({ ...one, error });
    }
  });
  await Promise.all(removals);
  return { removed: doomed.filter(({ id }) => !left.some((one) => one.id === id)), left };
}
