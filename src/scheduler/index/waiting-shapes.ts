import { splitConstraint } from '../../model/placing.ts';
import type { Cluster } from '../place/cluster.ts';
import type { ClusterNode } from '../place/cluster-node.ts';
import type { Wanted } from '../place/filters.ts';
import { sizeClass } from '../sizes.ts';

interface ShapeEntry {
  readonly wanted: Wanted;
  /** Where it is in the index. */
  readonly label: string;
  readonly size: number;
}

/** Shapes by the class of their size. */
type Sizes = Map<number, Set<string>>;

const anyNode = '';

/** What an able node must have: a label, or an architecture. A run may want more; the rest is tested when it is tried. */
function labelOf({ constraints, architecture }: Wanted): string {
  for (const constraint of constraints) {
    const { key, equal, value } = splitConstraint(constraint);
    if (equal && value !== '') return `${key}=${value}`;
  }
  return architecture === undefined ? anyNode : architectureKey(architecture);
}

// A label's key is not empty.
const architectureKey = (architecture: string) => `=${architecture}`;

/** The least that a run needs: with an idle sandbox. */
const least = ({ memory, idleMemory }: Wanted) => memory - idleMemory;

/**
 * Shapes that sleep in the queue, by what could help them: a label of a node, an image, and so much free memory. A change of one node
 * looks at those only.
 */
export class WaitingShapes {
  readonly #entries = new Map<string, ShapeEntry>();
  /** By label, then by image. */
  readonly #byLabel = new Map<string, Map<string, Sizes>>();
  /** Shapes of images that no ready node has: no change of another node helps them. */
  readonly #without = new Map<string, Set<string>>();

  get size(): number {
    return this.#entries.size;
  }

  /** Enters a shape with its foremost run, or enters it anew. */
  add(shape: string, wanted: Wanted): void {
    this.delete(shape);
    const [label, size] = [labelOf(wanted), sizeClass(least(wanted))];
    this.#entries.set(shape, { wanted, label, size });
    const images = atKey(this.#byLabel, label, () => new Map<string, Sizes>());
    const sizes = atKey(images, wanted.image, () => new Map<number, Set<string>>());
    atKey(sizes, size, () => new Set<string>()).add(shape);
  }

  delete(shape: string): void {
    const entry = this.#entries.get(shape);
    if (!entry) return;
    this.#entries.delete(shape);
    const { wanted, label, size } = entry;
    const without = this.#without.get(wanted.image);
    if (without?.delete(shape) === true && without.size === 0) this.#without.delete(wanted.image);
    const images = this.#byLabel.get(label);
    const sizes = images?.get(wanted.image);
    const shapes = sizes?.get(size);
    if (!images || !sizes || shapes?.delete(shape) !== true) return;
    if (shapes.size === 0) sizes.delete(size);
    if (sizes.size === 0) images.delete(wanted.image);
    if (images.size === 0) this.#byLabel.delete(label);
  }

  /** Takes out and returns the shapes that a change of this node could help. */
  helpedBy(node: ClusterNode, cluster: Cluster): string[] {
    if (!node.usable || node.free < 0) return [];
    const helped: string[] = [];
    for (const label of [anyNode, architectureKey(node.facts.architecture), ...node.labels]) {
      const images = this.#byLabel.get(label);
      if (!images) continue;
      const { canObtain } = node.facts;
      const fewer = canObtain || images.size <= node.images.size ? Array.from(images.keys()) : node.images;
      for (const image of fewer) {
        const sizes = images.get(image);
        if (!sizes) continue;
        if (node.images.has(image)) this.#collect(sizes, node.free, helped);
        else if (!isReady(image, cluster)) this.#putAside(images, image);
        else if (canObtain && cluster.copies(image, node.facts.architecture).ready > 0) this.#collect(sizes, node.free, helped);
      }
    }
    for (const image of this.#without.size <= node.images.size ? this.#without.keys() : node.images)
      if (node.images.has(image)) helped.push(...(this.#without.get(image) ?? []));
    for (const shape of helped) this.delete(shape);
    return helped;
  }

  /** Takes out and returns the shapes of an image that could not be copied before. */
  helpedByImage(image: string): string[] {
    const helped: string[] = [];
    for (const images of this.#byLabel.values()) for (const shapes of images.get(image)?.values() ?? []) helped.push(...shapes);
    helped.push(...(this.#without.get(image) ?? []));
    for (const shape of helped) this.delete(shape);
    return helped;
  }

  #collect(sizes: Sizes, free: number, helped: string[]): void {
    const most = sizeClass(free);
    for (const [size, shapes] of sizes) {
      if (size > most) continue;
      for (const shape of shapes) {
        const wanted = this.#entries.get(shape)?.wanted;
        if (wanted && least(wanted) <= free) helped.push(shape);
      }
    }
  }

  #putAside(images: Map<string, Sizes>, image: string): void {
    const without = atKey(this.#without, image, () => new Set<string>());
    for (const shapes of images.get(image)?.values() ?? []) for (const shape of shapes) without.add(shape);
    images.delete(image);
  }
}

const isReady = (image: string, cluster: Cluster) =>
  (['amd64', 'arm64', 'other'] as const).some((architecture) => cluster.copies(image, architecture).ready > 0);

function atKey<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  let value = map.get(key);
  if (value === undefined) map.set(key, (value = make()));
  return value;
}
