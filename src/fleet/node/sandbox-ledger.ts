import { randomUUID } from 'node:crypto';
import type { HeldUid, UidBook } from './uids.ts';

/** The node's account of memory, in the scheduler's books. */
export interface Books {
  /** Reserves bytes; returns whether there was room. */
  reserve(bytes: number): boolean;
  /** The same for an idle sandbox, which gets nothing where memory is held for a run. If absent, it is as good as a run. */
  reserveIdle?: (bytes: number) => boolean;
  release(bytes: number): void;
  /** Sets the memory that others take on the node's machine, bytes. */
  setOthers?(bytes: number): void;
  /** The memory that all sandboxes of the machine may take, bytes. */
  memory?(): number;
}

export interface SandboxLedgerOptions {
  books: Books;
  uids: UidBook;
  /** Called when memory becomes free. */
  onRoom?: (() => void) | undefined;
}

/** The sandboxes that may exist on a node: their names, booked memory and uids. */
export class SandboxLedger {
  /** Prefix of all names, before a slash. Unique to this object: other objects of the process do not touch our sandboxes. */
  readonly id = randomUUID();
  readonly #options: SandboxLedgerOptions;
  #named = 0;
  /** Names of sandboxes that are starting, idle, running or being removed. */
  readonly #inUse = new Set<string>();
  /** Memory that each sandbox books until its removal is confirmed, bytes. */
  readonly #booked = new Map<string, number>();
  /** Uids of sandboxes that serve, or that have served and whose removal is not confirmed. */
  readonly #uids = new Map<string, HeldUid>();

  constructor(options: SandboxLedgerOptions) {
    this.#options = options;
  }

  get inUse(): ReadonlySet<string> {
    return this.#inUse;
  }

  /** Returns unused names that still book memory: katafleet does not know whether their sandboxes exist. */
  get doubtful(): string[] {
    return Array.from(this.#booked.keys()).filter((name) => !this.#inUse.has(name));
  }

  /** Names a new sandbox. Its memory is reserved already. */
  begin(bytes: number): string {
    const name = `${this.id}/${(this.#named += 1)}`;
    this.#inUse.add(name);
    this.#booked.set(name, bytes);
    return name;
  }

  /** Changes the bytes that a sandbox books here; the scheduler's books have the change already. */
  rebook(name: string, bytes: number): void {
    this.#booked.set(name, bytes);
  }

  /** Returns the bytes that a sandbox books; 0 for an unknown one. */
  booked(name: string): number {
    return this.#booked.get(name) ?? 0;
  }

  /** Gives the sandbox a uid until its removal is confirmed. */
  uid(name: string, machine: string): number {
    const held = this.#options.uids.take(machine);
    this.#uids.set(name, held);
    return held.uid;
  }

  /** Notes that a sandbox is not used any more. Its memory stays booked until its removal is confirmed. */
  abandon(name: string): void {
    this.#inUse.delete(name);
  }

  /** Notes that a sandbox is removed: frees its memory and its uid. */
  gone(name: string): void {
    this.#inUse.delete(name);
    const bytes = this.#booked.get(name);
    if (bytes === undefined) return;
    this.#booked.delete(name);
    this.#options.books.release(bytes);
    this.#uids.get(name)?.giveBack();
    this.#uids.delete(name);
    this.#options.onRoom?.();
  }
}
