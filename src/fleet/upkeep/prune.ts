import { canonicalImage, imageNames } from '../../model/image-name.ts';
import { labels } from '../../model/labels.ts';
import type { NodeImage } from '../../drivers/contract.ts';

export interface PruneRules {
  /** Unix ms. */
  now: number;
  /** Removes katafleet's images that no run has used for this time, ms; undefined keeps them. */
  afterMs: number | undefined;
  /** Names that stay. */
  keep: readonly string[];
  /** When a canonical name was last asked for by a run, Unix ms. */
  lastUsed: (name: string) => number | undefined;
  /** When katafleet began to remember uses, Unix ms: a use before that could not be seen, so it does not count as missing. */
  since: number;
}

export interface Prunable {
  /** What the engine is asked to remove. */
  name: string;
  why: string;
}

/** Which of a node's images may go. Only those that katafleet made: by a recipe, or adapted from another. Pure. */
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
