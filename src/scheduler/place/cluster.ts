import { KatafleetError } from '../../model/errors.ts';
import type { HealthState } from '../../model/node.ts';
import { type Copies, CopyCounts } from '../index/copy-counts.ts';
import { FreeOrder } from '../index/free-order.ts';
import { Gains } from '../index/gains.ts';
import type { IndexedSet } from '../index/indexed-set.ts';
import { LoadTree } from '../index/load-tree.ts';
import { SlotsByKey } from '../index/slots-by-key.ts';
import { ClusterNode, type NodeFacts, type NodeView } from './cluster-node.ts';

/** The scheduler's view of the fleet. Each change is reported to it; with its indexes, a placement takes less than linear time. */
export class Cluster {
  readonly #slots: (ClusterNode | undefined)[] = [];
  readonly #freeSlots: number[] = [];
  readonly #byName = new Map<string, ClusterNode>();
  readonly #byImage = new SlotsByKey();
  readonly #byLabel = new SlotsByKey();
  readonly #byPool = new SlotsByKey();
  readonly #held = new Map<string, ClusterNode>();
  readonly #copies = new CopyCounts();
  /** The nodes that take runs: `tree` orders them by load, `order` by free memory. */
  readonly tree = new LoadTree();
  readonly order = new FreeOrder();
  /** Nodes that have gained room, except by changes that {@link topology} counts. */
  readonly gains = new Gains();
  /** Counts the changes of what nodes are and have, but not of their bookings. */
  topology = 0;
  readonly #byHealth: Record<HealthState, number> = { probing: 0, ready: 0, suspect: 0, down: 0, unusable: 0 };

  get size(): number {
    return this.#byName.size;
  }

  /** Whether the images of any node are still unknown. */
  get probing(): boolean {
    return this.#byHealth.probing > 0;
  }

  /** Returns the number of nodes in a state. */
  count(health: HealthState): number {
    return this.#byHealth[health];
  }

  /** Adds a node, or updates its facts; its bookings, health and images stay. */
  setNode(facts: NodeFacts): void {
    const there = this.#byName.get(facts.name);
    if (there) {
      this.#label(there, 'delete');
      this.#count(there, -1);
      there.facts = facts;
      this.#count(there, 1);
      this.#label(there, 'add');
      this.#changed(there);
      return;
    }
    const slot = this.#freeSlots.pop() ?? this.#slots.length;
    const node = new ClusterNode(slot, facts);
    this.#slots[slot] = node;
    this.#byName.set(facts.name, node);
    this.#byHealth[node.health] += 1;
    this.#label(node, 'add');
    this.#changed(node);
  }

  removeNode(name: string): void {
    const node = this.#byName.get(name);
    if (!node) return;
    this.setHealth(name, 'down');
    this.#label(node, 'delete');
    this.setImages(name, []);
    for (const pool of node.pools.keys()) this.setIdle(name, pool, 0);
    if (node.heldFor !== undefined) this.unhold(node.heldFor);
    this.#byName.delete(name);
    this.#byHealth[node.health] -= 1;
    this.#slots[node.slot] = undefined;
    this.#freeSlots.push(node.slot);
    this.topology += 1;
  }

  setHealth(name: string, health: HealthState, why?: string): void {
    const node = this.#get(name);
    node.why = why;
    if (node.health === health) return;
    this.#byHealth[node.health] -= 1;
    this.#byHealth[health] += 1;
    this.#count(node, -1);
    node.health = health;
    this.#count(node, 1);
    this.#changed(node);
  }

  setCordoned(name: string, cordoned: boolean, how: 'cordoned' | 'draining' = 'cordoned'): void {
    const node = this.#get(name);
    node.cordoned = cordoned ? how : 'no';
    this.#changed(node);
  }

  /** Sets every name by which an image on the node may be requested. */
  setImages(name: string, images: Iterable<string>): void {
    const node = this.#get(name);
    const now = new Set(images);
    let same = now.size === node.images.size;
    for (const image of node.images) {
      if (now.has(image)) continue;
      same = false;
      this.#byImage.delete(image, node.slot);
    }
    for (const image of now) if (!node.images.has(image)) this.#byImage.add(image, node.slot);
    if (same) return;
    this.#count(node, -1);
    node.images = now;
    this.#count(node, 1);
    this.topology += 1;
  }

  /** Sets the number of idle sandboxes that a pool has on the node. */
  setIdle(name: string, pool: string, count: number): void {
    const node = this.#get(name);
    const before = node.pools.get(pool) ?? 0;
    if (before === 0 && count > 0) this.gains.add(node.slot);
    node.idle += count - before;
    if (count > 0) node.pools.set(pool, count);
    else node.pools.delete(pool);
    this.#byPool[count > 0 ? 'add' : 'delete'](pool, node.slot);
  }

  /** Books memory (bytes, 0 or more). Returns false if there is too little. */
  reserve(name: string, bytes: number): boolean {
    const node = this.#get(name);
    if (bytes > node.free) return false;
    node.booked += bytes;
    this.#place(node);
    return true;
  }

  /** Releases booked memory. @throws internal for more than was booked */
  release(name: string, bytes: number): void {
    const node = this.#byName.get(name);
    if (!node) return; // the node was removed from the fleet
    if (bytes > node.booked) throw new KatafleetError('internal', `${name}: ${bytes} bytes given back, ${node.booked} were booked`);
    node.booked -= bytes;
    this.#place(node);
  }

  /** Sets the memory that others take on the node's machine, bytes. */
  setOthers(name: string, bytes: number): void {
    const node = this.#byName.get(name);
    if (!node || node.others === bytes) return;
    node.others = bytes;
    this.#place(node);
  }

  /** Counts a run that begins on the node. */
  started(name: string): void {
    this.#get(name).running += 1;
  }

  ended(name: string): void {
    const node = this.#byName.get(name);
    if (node) node.running -= 1;
  }

  /**
   * Holds a node's memory for one waiting run, until {@link unhold}. A run holds one node, and a node is held for one run: the last
   * call counts.
   */
  hold(name: string, id: string): void {
    const node = this.#get(name);
    this.unhold(id);
    if (node.heldFor !== undefined) this.#held.delete(node.heldFor);
    node.heldFor = id;
    this.#held.set(id, node);
    this.#place(node);
  }

  unhold(id: string): void {
    const node = this.#held.get(id);
    if (!node) return;
    this.#held.delete(id);
    node.heldFor = undefined;
    this.#place(node);
  }

  get holds(): number {
    return this.#held.size;
  }

  heldNode(id: string): ClusterNode | undefined {
    return this.#held.get(id);
  }

  node(name: string): NodeView | undefined {
    return this.#byName.get(name);
  }

  /** As {@link node}, for the scheduler's own functions. */
  state(name: string): ClusterNode | undefined {
    return this.#byName.get(name);
  }

  nodes(): IterableIterator<ClusterNode> {
    return this.#byName.values();
  }

  at(slot: number): ClusterNode | undefined {
    return this.#slots[slot];
  }

  withImage(image: string): IndexedSet {
    return this.#byImage.get(image);
  }

  withLabel(key: string, value: string): IndexedSet {
    return this.#byLabel.get(`${key}=${value}`);
  }

  withIdle(pool: string): IndexedSet {
    return this.#byPool.get(pool);
  }

  /** Returns the number of nodes of one architecture that have the image. */
  copies(image: string, architecture: NodeFacts['architecture']): Readonly<Copies> {
    return this.#copies.get(image, architecture);
  }

  #get(name: string): ClusterNode {
    const node = this.#byName.get(name);
    if (!node) throw new KatafleetError('internal', `the scheduler knows no node ${name}`);
    return node;
  }

  #changed(node: ClusterNode): void {
    this.topology += 1;
    this.#place(node);
  }

  /** Updates its place in the tree: it has none while it takes no runs, or is held. */
  #place(node: ClusterNode): void {
    const takes = node.usable && node.heldFor === undefined;
    const open = takes ? node.free : -1;
    if (open > node.open) this.gains.add(node.slot);
    node.open = open;
    this.tree.set(node.slot, takes ? node.load() : Infinity, open);
    this.order.set(node.slot, open);
  }

  /** Adds the node to the counts of copies, or subtracts it, with its present facts. */
  #count({ images, facts: { architecture }, health }: ClusterNode, one: 1 | -1): void {
    this.#copies.count(images, { architecture, ready: health === 'ready' }, one);
  }

  #label(node: ClusterNode, how: 'add' | 'delete'): void {
    const { labels, machinesOfAll: machines = [] } = node.facts;
    const pairs = new Set([labels, ...machines].flatMap((of) => Object.entries(of).map(([key, value]) => `${key}=${value}`)));
    for (const pair of pairs) this.#byLabel[how](pair, node.slot);
  }
}
