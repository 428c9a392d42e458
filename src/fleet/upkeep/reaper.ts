import { KatafleetError } from '../../model/errors.ts';
import { labels } from '../../model/labels.ts';
import type { Driver, OwnedContainer } from '../../drivers/contract.ts';
import { ownerIsGone } from '../node/owner.ts';

export interface ReapView {
  /** The time now, Unix ms. */
  now: number;
  /** Prefix of the names of our own sandboxes, before a slash. */
  fleet: string;
  /** Names of the sandboxes that we use or start. */
  inUse: ReadonlySet<string>;
  /** Our journal, if we have one. */
  journal?: JournalIdentity | undefined;
  /** How long past its deadline, or after its end, a container may stay, ms. */
  graceMs?: number;
  /** When each ended container was first seen ended, Unix ms. */
  endedSince?: ReadonlyMap<string, number>;
  gone?: (owner: string) => boolean;
}

/** A container with our journal's identity and an older epoch has no owner, because one journal has one katafleet at a time. */
export interface JournalIdentity {
  identity: string;
  epoch: number;
}

/** A container to remove, and why. */
export interface Doomed {
  id: string;
  name: string | undefined;
  running: boolean;
  why: string;
}

/**
 * Returns why a container may be removed; undefined if it must stay. The sandboxes of a killed katafleet end by themselves when their
 * stream closes, but no process removes them. A living owner gives a sandbox up if the engine fails to remove it. A container past its
 * deadline may always be removed.
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
 * Removes the containers of {@link reapPlan}. An ended container that the engine can't remove takes no memory: it stays until the next
 * time, and its reason says so. @throws engine.* if a running one can't be removed, or if the engine does not answer
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
