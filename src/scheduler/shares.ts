import { Heap } from './queue/heap.ts';

/** A node that may have a part of a pool. */
export interface ShareNode {
  name: string;
  /** Its size, in any unit; a node of size 0 gets nothing. */
  weight: number;
}

/** One node's next claim for a sandbox. */
interface ShareClaim {
  name: string;
  weight: number;
  offset: number;
  taken: number;
}

const worth = ({ weight, offset, taken }: ShareClaim) => weight / (taken + offset);
const before = (a: ShareClaim, b: ShareClaim) => worth(a) > worth(b) || (worth(a) === worth(b) && a.name < b.name);

/**
 * Spreads a fleet-wide number of idle sandboxes over nodes by their sizes; nodes of one size differ by one at most. Returns the number
 * by node name; nodes without any are absent. Takes n log n.
 *
 * Each node claims its first, second, … sandbox with a worth that depends on its own size and on a hash of pool and node only
 * (rendezvous hashing), and the claims of most worth get the sandboxes. So if a node goes, only its own sandboxes move, and if one
 * comes, others only give to it; and small pools do not all choose the same nodes.
 */
export function shareTargets(pool: string, total: number, nodes: readonly ShareNode[]): Map<string, number> {
  const seed = hash(pool, 0x811c9dc5);
  const claims = nodes
    .filter(({ weight }) => weight > 0)
    .map((node): ShareClaim => ({ ...node, offset: offsetOf(seed, node.name), taken: 0 }));
  let left = total - takeSure(claims, total);
  const heap = new Heap<ShareClaim>(before);
  if (left > 0) for (const claim of claims) heap.push(claim);
  for (; left > 0; left -= 1) {
    const best = heap.pop();
    if (!best) break;
    best.taken += 1;
    heap.push(best);
  }
  return new Map(claims.flatMap(({ name, taken }) => (taken > 0 ? [[name, taken] as const] : [])));
}

/** Takes what each node gets in any case, so that large pools need no more steps than nodes. Returns how many. */
function takeSure(claims: readonly ShareClaim[], total: number): number {
  if (total <= claims.length) return 0;
  const weights = claims.reduce((sum, { weight }) => sum + weight, 0);
  const least = weights / (total - claims.length);
  const sure = claims.map(({ weight, offset }) => Math.max(0, Math.floor(weight / least - offset) + 1));
  const sum = sure.reduce((all, one) => all + one, 0);
  if (sum > total) return 0; // by rounding; the slow way is right
  for (const [index, claim] of claims.entries()) claim.taken = sure[index] ?? 0;
  return sum;
}

/** Returns a number above 0, up to 1, that depends on the pool's hash and the node's name. */
const offsetOf = (seed: number, name: string) => (mixed(hash(name, seed)) + 1) / 2 ** 32;

/** FNV-1a (http://www.isthe.com/chongo/tech/comp/fnv/). */
function hash(text: string, seed: number): number {
  let value = seed;
  for (let at = 0; at < text.length; at += 1) value = Math.imul(value ^ text.charCodeAt(at), 0x01000193);
  return value >>> 0;
}

/** Spreads the bits of a hash: names that differ in the last letter only get far apart (the end of MurmurHash3). */
function mixed(value: number): number {
  let bits = value;
  bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b);
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
  return (bits ^ (bits >>> 16)) >>> 0;
}
