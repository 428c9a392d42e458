import { defaults } from '../../model/defaults.ts';
import { KatafleetError } from '../../model/errors.ts';
import type { HealthState } from '../../model/node.ts';
import { type Copies, CopyCounts } from '../index/copy-counts.ts';
import { FreeOrder } from '../index/free-order.ts';
import { Gains } from '../index/gains.ts';
import type { IndexedSet } from '../index/indexed-set.ts';
import { LoadTree } from '../index/load-tree.ts';
import { SlotsByKey } from '../index/slots-by-key.ts';
import { ClusterNode, type NodeFacts, type NodeView, type Stay } from './cluster-node.ts';

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
  /** The same nodes by the memory that is free or gives way. */
  readonly room = new FreeOrder();
  /** What may help waiting runs. */
  readonly gains = new Gains();
  /** Counts the changes after which other runs than before can never be taken. Load and health don't matter for that. */
  limits = 0;
  /** Counts the changes of what nodes are and have, but not of their bookings. */
  topology = 0;
  /** Whether images are copied ahead of runs, so that a run waits for a node that has its image, see {@link isNearer}. */
  pullsAhead = false;
  readonly #idleMemory: number;
  readonly #byHealth: Record<HealthState, number> = { probing: 0, ready: 0, suspect: 0, down: 0, unusable: 0 };

  /** `idleMemory`: what each idle sandbox books, bytes. */
  constructor(idleMemory: number = defaults.idleMemory) {
    this.#idleMemory = idleMemory;
  }

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
    this.limits += 1;
    if (there) {
      this.#label(there, 'delete');
      this.#count(there, -1);
      there.facts = facts;
      this.#count(there, 1);
      this.#label(there, 'add');
      this.#changed(there);
      this.gains.add(there.slot);
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
    this.limits += 1;
  }

  setHealth(name: string, health: HealthState, why?: string): void {
    const node = this.#get(name);
    node.why = why;
    if (node.health === health) return;
    this.#byHealth[node.health] -= 1;
    this.#byHealth[health] += 1;
    if ([node.health, health].some((one) => one === 'probing' || one === 'unusable')) this.limits += 1;
    this.#count(node, -1);
    node.health = health;
    this.#count(node, 1);
    this.#changed(node);
    if (health !== 'ready') this.#holdsNoLonger(node.images);
  }

  setCordoned(name: string, cordoned: boolean, how: 'cordoned' | 'draining' = 'cordoned'): void {
    const node = this.#get(name);
    node.cordoned = cordoned ? how : 'no';
    this.#changed(node);
    if (cordoned) this.#holdsNoLonger(node.images);
  }

  /** Sets every name by which an image on the node may be requested. */
  setImages(name: string, images: Iterable<string>): void {
    const node = this.#get(name);
    const now = new Set(images);
    const lost = Array.from(node.images).filter((image) => !now.has(image));
    const gained = Array.from(now).filter((image) => !node.images.has(image));
    if (lost.length + gained.length === 0) return;
    for (const image of lost) this.#byImage.delete(image, node.slot);
    for (const image of gained) this.#byImage.add(image, node.slot);
    this.#count(node, -1, lost);
    node.images = now;
    this.#count(node, 1, gained);
    this.topology += 1;
    this.limits += 1;
    if (gained.length > 0) this.gains.add(node.slot);
    this.#holdsNoLonger(lost);
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
    this.#place(node);
  }

  /** Sets the memory of the sandboxes that are kept for sessions on the node (bytes); it stays booked. */
  setKept(name: string, bytes: number): void {
    const node = this.#byName.get(name);
    if (!node) return; // the node was removed from the fleet
    node.kept = bytes;
    this.#place(node);
  }

  /** Books memory (bytes, 0 or more). Returns false if there is too little. */
  reserve(name: string, bytes: number): boolean {
    const node = this.#get(name);
    if (bytes > node.free) return false;
    node.booked += bytes;
    this.#place(node);
    return true;
  }

  /** As {@link reserve}, for an idle sandbox: there is no room for it where memory is held for a run. */
  reserveIdle(name: string, bytes: number): boolean {
    return this.#get(name).heldFor === undefined && this.reserve(name, bytes);
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

  /** Counts a run that begins on the node. With its {@link Stay}, runs can be let in on the node while it is held. */
  started(name: string, stay?: Stay): void {
    const node = this.#get(name);
    node.running += 1;
    if (stay) node.stays.add(stay);
    node.revision += 1;
  }

  /** Counts a run that has ended; `stay` is the object that {@link started} was given. */
  ended(name: string, stay?: Stay): void {
    const node = this.#byName.get(name);
    if (!node) return;
    node.running -= 1;
    if (stay) node.stays.delete(stay);
    node.revision += 1;
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
    this.gains.add(node.slot); // for the run itself
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

  heldNodes(): IterableIterator<ClusterNode> {
    return this.#held.values();
  }

  /** The most free memory of any node that takes runs, held nodes included; -1 if there is none. */
  get mostFree(): number {
    let most = this.tree.mostFree;
    for (const node of this.#held.values()) if (node.usable) most = Math.max(most, node.free);
    return most;
  }

  /** The size of the largest run that may find room: an idle sandbox may have booked its share already. -1 if no node takes runs. */
  get largest(): number {
    const most = this.mostFree;
    return most < 0 ? -1 : most + this.#idleMemory;
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

  /** Notes that a node takes no runs of these images for now: runs that waited for it may go to a node that must be given the image. */
  #holdsNoLonger(images: Iterable<string>): void {
    if (this.pullsAhead) for (const image of images) this.gains.addImage(image);
  }

  #changed(node: ClusterNode): void {
    this.topology += 1;
    this.#place(node);
  }

  /** Updates its place in the tree: it has none while it takes no runs, or is held. */
  #place(node: ClusterNode): void {
    node.revision += 1;
    node.gives = node.idle * this.#idleMemory + node.kept;
    const takes = node.usable && node.heldFor === undefined;
    const open = takes ? node.free : -1;
    if (open > node.open || (node.heldFor !== undefined && node.free > node.placed)) this.gains.add(node.slot);
    node.open = open;
    node.placed = node.free;
    this.tree.set(node.slot, takes ? node.load() : Infinity, open);
    this.order.set(node.slot, open);
    this.room.set(node.slot, open >= 0 ? open + node.gives : -1);
  }

  /** Adds images of the node to the counts of copies, or subtracts them, with its present facts. */
  #count({ images: all, facts: { architecture }, health }: ClusterNode, one: 1 | -1, images: Iterable<string> = all): void {
    this.#copies.count(images, { architecture, ready: health === 'ready' }, one, (image) => this.gains.addImage(image));
  }

  #label(node: ClusterNode, how: 'add' | 'delete'): void {
    if (how === 'add') node.labels = labelsOf(node.facts);
    for (const pair of node.labels) this.#byLabel[how](pair, node.slot);
  }
}

/** Returns the labels `key=value` of a node and of the machines behind it. */
function labelsOf({ labels, machinesOfAll: machines = [] }: NodeFacts): Set<string> {
  return new Set([labels, ...machines].flatMap((of) => Object.entries(of).map(([key, value]) => `${key}=${value}`)));
}
