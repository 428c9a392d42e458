import { randomUUID } from 'node:crypto';
import { ownerOf } from '../../base/process-owner.ts';
import { labels } from '../../model/labels.ts';

/** Begins the names of this process's looks. */
const process = randomUUID();
const underWay = new Set<string>();
let count = 0;

/**
 * Begins a look into an image by a container that is never started. Its labels tell the reaper whose it is. `end` must be called when
 * the look is over, however it ended: from then on the container may be removed, also if the call that created it was broken off.
 */
export function beginLook(): { labels: Record<string, string>; end(): void } {
  const name = `${process}/${(count += 1)}`;
  underWay.add(name);
  const owner = ownerOf('self');
  return {
    labels: { [labels.role]: 'adapting', [labels.look]: name, ...(owner === undefined ? {} : { [labels.owner]: owner }) },
    end: () => void underWay.delete(name),
  };
}

/** Whether a container was made for a look of this process that is over. */
export const isLookOver = ({ [labels.look]: name }: Readonly<Record<string, string>>): boolean =>
  name !== undefined && name.startsWith(`${process}/`) && !underWay.has(name);
