import type { DriverKind, SandboxNetwork } from '../../model/driver-kind.ts';
import { KatafleetError } from '../../model/errors.ts';
import type { HealthState } from '../../model/node.ts';
import { FreeOrder } from '../index/free-order.ts';
import { Gains } from '../index/gains.ts';
import { IndexedSet } from '../index/indexed-set.ts';
import { LoadTree } from '../index/load-tree.ts';

/** What is known of a node until it is probed again. Memory is bytes. */
export interface NodeFacts {
  name: string;
  /** Whether it has ever told what it is; of one that has not only labels are known. */
  probed: boolean;
  architecture: 'amd64' | 'arm64' | 'other';
  labels: Readonly<Record<string, string>>;
  /**
   * Where several machines stand behind it: the labels of each that is in use, the node's own laid over them; undefined until they are
   * known.
   */
  machines?: readonly Readonly<Record<string, string>>[];
  /** Those too that are not in use now. */
  machinesOfAll?: readonly Readonly<Record<string, string>>[];
  cpus: number;
  /** What sandboxes may book: the machine's less what is left free. */
  memory: number;
  /** The machine's. */
  total: number;
  /** Where several machines stand behind it: what the largest that is in use has for sandboxes, for none is larger. */
  largest?: { memory: number; cpus: number };
  /** The same of those too that are not in use now: what is larger has to wait for no return. */
  largestOfAll?: { memory: number; cpus: number };
  /** Undefined until it was probed. */
  driver: DriverKind | undefined;
  /** Networks that its driver can give to a sandbox. */
  networks: readonly SandboxNetwork[];
  /** Whether machines with labels of their own stand behind it. */
  severalMachines: boolean;
  /** Waived: its configuration lets it serve without. */
  memoryLimits: 'enforced' | 'waived' | 'missing';
  /** Whether images can be brought to it. */
  canObtain: boolean;
}

/** A node with its books. */
export interface NodeView {
  readonly facts: NodeFacts;
  readonly health: HealthState;
  readonly why: string | undefined;
  readonly cordoned: 'no' | 'cordoned' | 'draining';
  /** Bytes. */
  readonly booked: number;
  readonly free: number;
  readonly memory: number;
  /** Runs on it. */
  readonly running: number;
  /** Idle sandboxes of all pools. */
  readonly idle: number;
  /** Which waiting run its memory is saved for. */
  readonly heldFor: string | undefined;
}

/** A node as the scheduler's own functions see it. */
export class ClusterNode implements NodeView {
  readonly slot: number;
  facts: NodeFacts;
  health: HealthState = 'probing';
  why: string | undefined;
  cordoned: 'no' | 'cordoned' | 'draining' = 'no';
  booked = 0;
  running = 0;
  idle = 0;
  heldFor: string | undefined;
  /** Free memory as it is in the order of the nodes that take runs; -1 when it is not among them. */
  open = -1;
  readonly pools = new Map<string, number>();
  images: ReadonlySet<string> = new Set();

  constructor(slot: number, facts: NodeFacts) {
    this.slot = slot;
    this.facts = facts;
  }

  get memory(): number {
    return this.facts.memory;
  }

  get free(): number {
    return this.facts.memory - this.booked;
  }

  get usable(): boolean {
    return this.health === 'ready' && this.cordoned === 'no';
  }

  /** Share of its memory that is booked, with so many bytes more. */
  load(more = 0): number {
    return this.facts.memory > 0 ? (this.booked + more) / this.facts.memory : Infinity;
  }
}

const none = new IndexedSet();

/** How many nodes of one architecture have an image: all of them, and those that are ready and can give it. */
interface Copies {
  all: number;
  ready: number;
}
const noCopies: Readonly<Copies> = { all: 0, ready: 0 };

/** The scheduler's view of the fleet, told of every change, with the indexes that make placing take less than linear time. */
export class Cluster {
  readonly #slots: (ClusterNode | undefined)[] = [];
  readonly #freeSlots: number[] = [];
  readonly #byName = new Map<string, ClusterNode>();
  readonly #byImage = new Map<string, IndexedSet>();
  readonly #byLabel = new Map<string, IndexedSet>();
  readonly #byPool = new Map<string, IndexedSet>();
  readonly #held = new Map<string, ClusterNode>();
  readonly #copies = new Map<string, Copies>();
  /** The nodes that take runs, by load; and the same by free memory. */
  readonly tree = new LoadTree();
  readonly order = new FreeOrder();
  /** Nodes where more fits than before, apart from what {@link topology} tells of. */
  readonly gains = new Gains();
  /** Grows with each change of what nodes are and have, not of what they have booked. */
  topology = 0;
  #probing = 0;

  get size(): number {
    return this.#byName.size;
  }

  /** Whether the images of any node are still unknown. */
  get probing(): boolean {
    return this.#probing > 0;
  }

  /** Adds a node, or says anew what it is: its bookings, health and images stay. */
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
    this.#probing += 1;
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
    this.#slots[node.slot] = undefined;
    this.#freeSlots.push(node.slot);
    this.topology += 1;
  }

  setHealth(name: string, health: HealthState, why?: string): void {
    const node = this.#get(name);
    if (node.health === 'probing' && health !== 'probing') this.#probing -= 1;
    if (node.health !== 'probing' && health === 'probing') this.#probing += 1;
    node.why = why;
    if (node.health === health) return;
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

  /** Every name by which an image on the node can be asked for. */
  setImages(name: string, images: Iterable<string>): void {
    const node = this.#get(name);
    const now = new Set(images);
    let same = now.size === node.images.size;
    for (const image of node.images) {
      if (now.has(image)) continue;
      same = false;
      this.#index(this.#byImage, image, node.slot, 'delete');
    }
    for (const image of now) if (!node.images.has(image)) this.#index(this.#byImage, image, node.slot, 'add');
    if (same) return;
    this.#count(node, -1);
    node.images = now;
    this.#count(node, 1);
    this.topology += 1;
  }

  /** How many idle sandboxes of a pool wait on the node. */
  setIdle(name: string, pool: string, count: number): void {
    const node = this.#get(name);
    const before = node.pools.get(pool) ?? 0;
    if (before === 0 && count > 0) this.gains.add(node.slot);
    node.idle += count - before;
    if (count > 0) node.pools.set(pool, count);
    else node.pools.delete(pool);
    this.#index(this.#byPool, pool, node.slot, count > 0 ? 'add' : 'delete');
  }

  /** Books memory, unless there is too little. Bytes, 0 or more. */
  reserve(name: string, bytes: number): boolean {
    const node = this.#get(name);
    if (bytes > node.free) return false;
    node.booked += bytes;
    this.#place(node);
    return true;
  }

  /** Gives memory back. @throws internal for more than was booked */
  release(name: string, bytes: number): void {
    const node = this.#byName.get(name);
    if (!node) return; // it was taken out of the fleet
    if (bytes > node.booked) throw new KatafleetError('internal', `${name}: ${bytes} bytes given back, ${node.booked} were booked`);
    node.booked -= bytes;
    this.#place(node);
  }

  /** A run begins on the node. */
  started(name: string): void {
    this.#get(name).running += 1;
  }

  ended(name: string): void {
    const node = this.#byName.get(name);
    if (node) node.running -= 1;
  }

  /** Saves a node's memory for one waiting run, until {@link unhold}. A run holds one node, and a node is held for one run: the last word counts. */
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

  /** The same, for the scheduler's own functions. */
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
    return this.#byImage.get(image) ?? none;
  }

  withLabel(key: string, value: string): IndexedSet {
    return this.#byLabel.get(`${key}=${value}`) ?? none;
  }

  withIdle(pool: string): IndexedSet {
    return this.#byPool.get(pool) ?? none;
  }

  /** Nodes of one architecture that have the image. */
  copies(image: string, architecture: NodeFacts['architecture']): Readonly<Copies> {
    return this.#copies.get(`${architecture} ${image}`) ?? noCopies;
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

  /** Its place in the tree: nowhere while it takes no runs, or saves its memory. */
  #place(node: ClusterNode): void {
    const takes = node.usable && node.heldFor === undefined;
    const open = takes ? node.free : -1;
    if (open > node.open) this.gains.add(node.slot);
    node.open = open;
    this.tree.set(node.slot, takes ? node.load() : Infinity, open);
    this.order.set(node.slot, open);
  }

  /** Adds the node to the counts of copies, or takes it from them, as it is now. */
  #count(node: ClusterNode, one: 1 | -1): void {
    for (const image of node.images) {
      const key = `${node.facts.architecture} ${image}`;
      const { all, ready } = this.#copies.get(key) ?? noCopies;
      if (all + one === 0) this.#copies.delete(key);
      else this.#copies.set(key, { all: all + one, ready: ready + (node.health === 'ready' ? one : 0) });
    }
  }

  #label(node: ClusterNode, how: 'add' | 'delete'): void {
    const { labels, machinesOfAll: machines = [] } = node.facts;
    const pairs = new Set([labels, ...machines].flatMap((of) => Object.entries(of).map(([key, value]) => `${key}=${value}`)));
    for (const pair of pairs) this.#index(this.#byLabel, pair, node.slot, how);
  }

  #index(index: Map<string, IndexedSet>, key: string, slot: number, how: 'add' | 'delete'): void {
    let set = index.get(key);
    if (how === 'add') {
      if (!set) index.set(key, (set = new IndexedSet()));
      set.add(slot);
    } else if (set) {
      set.delete(slot);
      if (set.size === 0) index.delete(key);
    }
  }
}
