import { hour } from '../../base/units.ts';
import { labels } from '../../model/labels.ts';
import type { OwnedContainer } from '../../drivers/contract.ts';
import { ownerIsGone } from '../../base/process-owner.ts';
import { isLookOver } from '../../drivers/docker/looks.ts';

export interface ReapView {
  /** The time now, Unix ms. */
  now: number;
  /** The engine's clock minus ours, ms; undefined if it is not known. */
  clockSkewMs?: number | undefined;
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

/** The lifetime of sandboxes of a katafleet that wrote none, ms: the longest run, with its transfers. */
const usualLifetimeMs = 25 * hour;
/** How wrong the clocks of others may be, ms, where the engine's own clock can't tell a container's age. */
const clocksMs = 24 * hour;
/** How wrong the engine's clock may have become since a container was made, ms. */
const stepsMs = 2 * hour;
/** Another owner has so many times the grace to remove its ended containers: it may be stopped for a while. */
const patience = 5;

/**
 * Returns why a container may be removed; undefined if it must stay. The sandboxes of a killed katafleet end by themselves when their
 * stream closes, but no process removes them. A living owner gives a sandbox up if the engine fails to remove it. Any owner's container
 * that is past its deadline may be removed, but no running one only because two katafleets' clocks differ.
 */
export function reapReason(container: OwnedContainer, view: ReapView): string | undefined {
  const { fleet, inUse, journal, graceMs = 0, gone = ownerIsGone } = view;
  const { [labels.owner]: owner, [labels.sandbox]: name } = container.labels;
  if (name?.startsWith(`${fleet}/`)) return inUse.has(name) ? undefined : 'its owner has given it up';
  if (isLookOver(container.labels)) return 'its look into an image is over';
  const { [labels.fleet]: identity, [labels.epoch]: epoch } = container.labels;
  if (journal && identity === journal.identity && Number(epoch) < journal.epoch) return 'it was made before katafleet was started again';
  if (owner !== undefined && gone(owner)) return 'the process that made it is gone';
  if (isPastDeadline(container, view)) return 'it is past its deadline';
  const ended = view.endedSince?.get(container.id);
  const given = (owner === undefined ? 1 : patience) * graceMs;
  if (ended !== undefined && ended + given < view.now) return 'it has ended and its owner does not remove it';
  return undefined;
}

/**
 * Whether a container is past its deadline by its owner's clock, and a running one also by its age on the engine's clock. If that is not
 * known, a running one must be past its deadline by far.
 */
function isPastDeadline({ running, created, labels: own }: OwnedContainer, view: ReapView): boolean {
  const { now, clockSkewMs, graceMs = 0 } = view;
  const { [labels.deadline]: deadline, [labels.lifetime]: lifetime } = own;
  if (deadline === undefined) return false;
  const past = now - graceMs - Number(deadline);
  if (!running) return past > 0;
  if (created === undefined || clockSkewMs === undefined) return past > clocksMs;
  return past > 0 && now + clockSkewMs - created > (Number(lifetime) || usualLifetimeMs) + graceMs + stepsMs;
}

/** Returns which of a node's containers may be removed. Notes in `endedSince` which have ended. */
export function reapPlan(all: readonly OwnedContainer[], view: ReapView & { endedSince?: Map<string, number> }): Doomed[] {
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
