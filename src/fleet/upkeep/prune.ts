import { canonicalImage, imageNames } from '../../model/image-name.ts';
import { labels } from '../../model/labels.ts';
import type { NodeImage } from '../../drivers/contract.ts';

export interface PruneRules {
  /** The time now, Unix ms. */
  now: number;
  /** Removes katafleet's images that no run has used for this time, ms. If undefined, keeps them. */
  afterMs: number | undefined;
  /** Names of images to keep. */
  keep: readonly string[];
  /** When a run last asked for a canonical name, Unix ms. */
  lastUsed: (name: string) => number | undefined;
  /** Since when katafleet remembers uses, Unix ms. An image without a known use may have been used before that. */
  since: number;
}

export interface Prunable {
  /** The name or id by which the engine removes it. */
  name: string;
  why: string;
}

/** Returns the images of a node to remove. Only images that katafleet made: from a recipe, or adapted from another one. Pure. */
export function prunePlan(images: readonly NodeImage[], rules: PruneRules): Prunable[] {
  const { now, afterMs, since, lastUsed } = rules;
  const keep = new Set(rules.keep.map(canonicalImage));
  const ids = new Set(images.map(({ id }) => id));
  return images.flatMap((image) => {
    const { [labels.recipe]: recipe, [labels.adaptedFrom]: source } = image.labels;
    const tags = image.tags.filter((tag) => !tag.startsWith('<none>'));
    const adapted = source !== undefined && tags.some((tag) => tag.startsWith('katafleet/adapted:'));
    if (adapted && !ids.has(source)) return tags.map((name) => ({ name, why: 'the image that it was adapted from is gone' }));
    if (adapted || recipe === undefined) return [];
    if (tags.length === 0) return [{ name: image.id, why: `a later build of ${recipe} has taken its name` }];
    const names = imageNames(image);
    if (afterMs === undefined || labels.service in image.labels || names.some((name) => keep.has(name))) return [];
    const used = Math.max(since, ...names.map((name) => lastUsed(name) ?? 0));
    return used + afterMs < now ? tags.map((name) => ({ name, why: 'no run has asked for it for long enough' })) : [];
  });
}
