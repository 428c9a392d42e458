import { messageOf } from '../../model/errors.ts';
import { poolKey, type SandboxLimits } from '../../model/profile.ts';
import type { NodeView } from '../../scheduler/place/cluster-node.ts';
import { type ShareNode, shareTargets } from '../../scheduler/shares.ts';
import type { PoolBounds } from '../../scheduler/targets.ts';
import type { Node } from '../node/node.ts';
import type { WarmPool } from './pool.ts';

/** The number of idle sandboxes wanted in the whole fleet. */
export interface FleetPool {
  /** Canonical name of the image. */
  image: string;
  limits: SandboxLimits;
  idle: PoolBounds;
}

/** A node as a share sees it. `books` is undefined after the node was removed. */
export interface ShareMember {
  node: Pick<Node, 'settings' | 'state' | 'sandboxes'>;
  books: NodeView | undefined;
  /** Whether it counts, see {@link Presence}. */
  present: boolean;
}

const none: PoolBounds = { min: 0, max: 0 };
/** How long the nodes that are to have more may take before the others give up what is above their share, ms. */
const patienceMs = 5 * 60_000;
/** How long a node that failed to make its pool is left in peace, ms. */
const failedMs = 10_000;

/**
 * One pool's shares over the fleet. They depend on which nodes there are, not on how busy these are, and a node gives up what is above
 * its share only after the others have theirs.
 */
export class SharedPool {
  readonly #pool: FleetPool;
  readonly #key: string;
  readonly #onTrouble: ((message: string) => void) | undefined;
  #members: ShareNode[] = [];
  #wanted = new Map<string, PoolBounds>();
  /** The bounds that each node has. */
  readonly #given = new Map<string, PoolBounds>();
  readonly #making = new Map<string, Promise<WarmPool | undefined>>();
  readonly #failedAt = new Map<string, number>();
  /** Since when some nodes have more than their share. */
  #surplusSince: number | undefined;

  constructor(pool: FleetPool, onTrouble: ((message: string) => void) | undefined) {
    this.#pool = pool;
    this.#key = poolKey(pool.image, pool.limits);
    this.#onTrouble = onTrouble;
  }

  get idle(): PoolBounds {
    return this.#pool.idle;
  }

  /** Takes other numbers for the fleet. What is then too much goes at once. */
  resize(idle: PoolBounds): void {
    const { min, max } = this.#pool.idle;
    this.#pool.idle = idle;
    this.#members = [];
    if (idle.min < min || idle.max < max) this.#surplusSince = -Infinity;
  }

  /**
   * Brings each node a step nearer to its share. `pools` resolves when the nodes have made their pools, and never rejects. `again`: how
   * soon another step may be possible, ms; undefined if none is left. `all`: also asks the nodes that need no change for their pools.
   */
  step(nodes: readonly ShareMember[], now: number, all: boolean): { pools: Promise<WarmPool[]>; again: number | undefined } {
    this.#share(nodes);
    const byName = new Map(nodes.map((member) => [member.node.settings.name, member]));
    let waiting = false;
    for (const [name, wanted] of this.#wanted) {
      const member = byName.get(name);
      if (member) waiting = this.#grow(member, wanted, now, all) || waiting;
    }
    const over = this.#over(byName);
    if (over.length === 0) this.#surplusSince = undefined;
    else this.#surplusSince ??= now;
    if (over.length > 0 && (this.#haveTheirs(byName) || now - (this.#surplusSince ?? now) >= patienceMs)) {
      for (const { node } of over.splice(0)) this.#give(node, this.#wanted.get(node.settings.name) ?? none);
      this.#surplusSince = undefined;
    }
    const making = Array.from(this.#wanted.keys()).flatMap((name) => this.#making.get(name) ?? []);
    const pools = Promise.all(making).then((made) => made.filter((pool) => pool !== undefined));
    return { pools, again: over.length > 0 ? 1_000 : waiting ? failedMs : undefined };
  }

  /** Gives the pool of each node back to the node's own bounds. */
  drop(nodes: readonly ShareMember[]): void {
    for (const { node } of nodes) {
      if (this.#given.has(node.settings.name)) node.sandboxes.bound(this.#pool.image, this.#pool.limits, undefined);
    }
  }

  /** Forgets a node that was removed from the fleet. */
  forget(name: string): void {
    this.#given.delete(name);
    this.#making.delete(name);
    this.#failedAt.delete(name);
  }

  /** Computes the shares anew if other nodes count than before. */
  #share(nodes: readonly ShareMember[]): void {
    const counting = nodes.filter((member) => this.#counts(member));
    // A node whose size is not known yet counts as a large one: when it is known, shares rather grow than shrink.
    const largest = counting.reduce((most, { books }) => Math.max(most, books?.memory ?? 0), 0) || 1;
    const members = counting.map(({ node, books }) => ({
      name: node.settings.name,
      weight: books?.facts.probed === false ? largest : (books?.memory ?? 0),
    }));
    if (isSame(members, this.#members)) return;
    this.#members = members;
    const { min, max } = this.#pool.idle;
    const [least, most] = [shareTargets(this.#key, min, members), shareTargets(this.#key, max, members)];
    this.#wanted = new Map(Array.from(most, ([name, share]) => [name, { min: least.get(name) ?? 0, max: share }]));
  }

  /** Whether the node may have idle sandboxes of the pool; a node that is not probed yet may. */
  #counts({ node, books, present }: ShareMember): boolean {
    if (!present || !books || books.cordoned !== 'no') return false;
    const { image, limits } = this.#pool;
    if (limits.joins !== undefined && !books.facts.networks.includes('profile')) return false;
    return node.sandboxes.imagesAt === 0 || node.sandboxes.imageId(image) !== undefined;
  }

  /** Gives a ready node what it lacks of its share. Returns whether it must be tried again later. */
  #grow({ node }: ShareMember, wanted: PoolBounds, now: number, all: boolean): boolean {
    const { image, limits } = this.#pool;
    const { name } = node.settings;
    if (node.state !== 'ready' || this.#making.has(name)) return false;
    const given = this.#given.get(name) ?? none;
    const bounds = { min: Math.max(given.min, wanted.min), max: Math.max(given.max, wanted.max) };
    if (!all) {
      if (bounds.min === given.min && bounds.max === given.max && node.sandboxes.hasPool(image, limits)) return false;
      if (now - (this.#failedAt.get(name) ?? -Infinity) < failedMs) return true;
    }
    this.#given.set(name, bounds);
    const made = node.sandboxes.target(image, limits, bounds).then(
      (pool) => {
        this.#failedAt.delete(name);
        return pool;
      },
      (error: unknown) => {
        this.#given.delete(name);
        this.#failedAt.set(name, now);
        this.#onTrouble?.(`${name}: no pool of ${image}: ${messageOf(error)}`);
        return undefined;
      },
    );
    this.#making.set(name, made);
    void made.finally(() => this.#making.get(name) === made && this.#making.delete(name));
    return false;
  }

  /** The nodes that have more than their share. */
  #over(byName: ReadonlyMap<string, ShareMember>): ShareMember[] {
    const over: ShareMember[] = [];
    for (const [name, given] of this.#given) {
      const member = byName.get(name);
      const wanted = this.#wanted.get(name) ?? none;
      if (member && (given.min > wanted.min || given.max > wanted.max)) over.push(member);
    }
    return over;
  }

  /** Whether each ready node has the idle sandboxes of its share. */
  #haveTheirs(byName: ReadonlyMap<string, ShareMember>): boolean {
    const { image, limits } = this.#pool;
    for (const [name, { min }] of this.#wanted) {
      const member = byName.get(name);
      if (member?.node.state === 'ready' && member.node.sandboxes.idleOf(image, limits) < min) return false;
    }
    return true;
  }

  #give({ settings: { name }, sandboxes }: ShareMember['node'], bounds: PoolBounds): void {
    sandboxes.bound(this.#pool.image, this.#pool.limits, bounds);
    if (bounds.max > 0) this.#given.set(name, bounds);
    else this.#given.delete(name);
  }
}

function isSame(a: readonly ShareNode[], b: readonly ShareNode[]): boolean {
  return a.length === b.length && a.every(({ name, weight }, index) => name === b[index]?.name && weight === b[index]?.weight);
}
