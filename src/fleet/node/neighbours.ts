import { within } from '../../base/deadline.ts';
import type { Driver, OwnedContainer } from '../../drivers/contract.ts';
import { labels } from '../../model/labels.ts';
import { isAlive, isForeign, limitOf, othersMemory } from '../upkeep/others.ts';
import type { Books, SandboxLedger } from './sandbox-ledger.ts';

export interface NeighboursOptions {
  driver: Driver;
  ledger: SandboxLedger;
  books: Books;
  /** Called when the memory that others take has fallen. */
  onRoom?: (() => void) | undefined;
}

/** So long after a sandbox of another owner was last seen, each own create is checked, ms. */
const nearMs = 10 * 60_000;
/** Where a list costs little, a create is also checked if the last list is older than this, ms: a neighbour may be new. */
const staleMs = 2_000;
/** After no create for this time, ms, those of the next moments are all checked: a neighbour may begin at the same time. */
const quietMs = 60_000;
const momentsMs = 5_000;
/** How long such a check may take, ms. If it takes longer, the sandbox is kept. */
const checkMs = 10_000;

/**
 * Other katafleets on the same machine. Their sandboxes are booked by their limits, as the engine lists them. If two create at the same
 * time, the engine decides: each lists after its create, and the one that came too late for the memory removes its own.
 */
export class Neighbours {
  readonly #options: NeighboursOptions;
  #others = 0;
  #empty = false;
  #seenAt = -Infinity;
  #listedAt = -Infinity;
  #createdAt = -Infinity;
  #busySince = -Infinity;
  #list: Promise<OwnedContainer[]> | undefined;
  #nextList: Promise<OwnedContainer[]> | undefined;

  constructor(options: NeighboursOptions) {
    this.#options = options;
  }

  /** Memory that sandboxes of others may take, bytes, as last listed. */
  get others(): number {
    return this.#others;
  }

  /** Whether the last list was empty. */
  get empty(): boolean {
    return this.#empty;
  }

  /** Lists the node's containers. The list begins after this call, and callers that wait for one share it. @throws engine.* */
  list(): Promise<OwnedContainer[]> {
    if (!this.#list) return this.#begin();
    const begin = () => {
      this.#nextList = undefined;
      return this.#begin();
    };
    this.#nextList ??= this.#list.then(begin, begin);
    return this.#nextList;
  }

  #begin(): Promise<OwnedContainer[]> {
    const began = performance.now();
    const list = this.#options.driver.list().finally(() => (this.#list = undefined));
    this.#list = list;
    void list.then(
      (all) => {
        this.#listedAt = began;
        this.#empty = all.length === 0;
      },
      () => undefined,
    );
    return list;
  }

  /** Books the sandboxes of others. A swarm knows itself what its machines have promised. */
  see(all: readonly OwnedContainer[]): void {
    const { driver, ledger, books, onRoom } = this.#options;
    if (driver.machines || !books.setOthers) return;
    if (all.some((one) => isAlive(one) && isForeign(one, ledger.id))) this.#seenAt = performance.now();
    const before = this.#others;
    this.#others = othersMemory(all, ledger.id);
    books.setOthers(this.#others);
    if (this.#others < before) onRoom?.();
  }

  /**
   * Whether a sandbox that was just created must give way, because those of others that the engine created before it leave it no room.
   * Never rejects: if the engine cannot be asked, the sandbox stays.
   */
  async pressOut(name: string): Promise<boolean> {
    const { driver, books, ledger } = this.#options;
    const memory = books.memory?.();
    if (driver.machines || memory === undefined) return false;
    const now = performance.now();
    if (now - this.#createdAt > quietMs) this.#busySince = now;
    this.#createdAt = now;
    const mayBeNew = driver.listsFast === true && (now - this.#busySince < momentsMs || now - this.#listedAt > staleMs);
    if (!mayBeNew && now - this.#seenAt > nearMs) return false;
    try {
      return await within(checkMs, async () => {
        const all = await this.list();
        this.see(all);
        const bytesOf = (one: OwnedContainer) =>
          isForeign(one, ledger.id) ? limitOf(one) : ledger.booked(one.labels[labels.sandbox] ?? '');
        return comesTooLate(all, name, { memory, bytesOf, createdAt: driver.createdAt?.bind(driver) });
      });
    } catch {
      return false; // the next reaping books what is there
    }
  }
}

interface NeighbourRoom {
  /** Memory for all sandboxes of the node, bytes. */
  memory: number;
  bytesOf: (one: OwnedContainer) => number;
  /** When a container was created, exactly. */
  createdAt?: ((id: string) => Promise<number | undefined>) | undefined;
}

/**
 * Whether a sandbox and all that the engine created before it take more memory than there is. All katafleets find the same order, so that
 * of two the later gives way, never both. Containers of the same time are in the order of their names.
 */
export async function comesTooLate(
  all: readonly OwnedContainer[],
  name: string,
  { memory, bytesOf, createdAt }: NeighbourRoom,
): Promise<boolean> {
  const nameOf = (one: OwnedContainer) => one.labels[labels.sandbox] ?? '';
  const alive = all.filter((one) => isAlive(one) && one.labels[labels.role] === 'sandbox');
  const mine = alive.find((one) => nameOf(one) === name);
  if (!mine) return false;
  const sum = (of: readonly OwnedContainer[]) => of.reduce((bytes, one) => bytes + bytesOf(one), 0);
  const at = mine.created ?? Infinity;
  const before = alive.filter((one) => one !== mine && (one.created ?? -Infinity) < at);
  const together = alive.filter((one) => one !== mine && one.created === at);
  const surely = bytesOf(mine) + sum(before);
  if (surely > memory) return true;
  if (surely + sum(together) <= memory) return false;
  const exactly = async (one: OwnedContainer) => (await createdAt?.(one.id)) ?? at;
  const [own, ...theirs] = await Promise.all([mine, ...together].map(exactly));
  const first = together.filter((one, index) => {
    const time = theirs[index] ?? at;
    return time < (own ?? at) || (time === own && nameOf(one) < name);
  });
  return surely + sum(first) > memory;
}
