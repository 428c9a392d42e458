import { randomUUID } from 'node:crypto';
import type { HeldUid, UidBook } from './uids.ts';

/** Where a node books memory; the scheduler's own books. */
export interface Books {
  /** Whether there was room. Bytes. */
  reserve(bytes: number): boolean;
  release(bytes: number): void;
}

export interface SandboxLedgerOptions {
  books: Books;
  uids: UidBook;
  /** Memory has become free. */
  onRoom?: (() => void) | undefined;
}

/** The sandboxes that may exist on a node: their names, the memory that they book, the uids that they have. */
export class SandboxLedger {
  /** What the names begin with, before a slash. Unique to this object: another of the same process leaves our sandboxes alone. */
  readonly id = randomUUID();
  readonly #options: SandboxLedgerOptions;
  #named = 0;
  /** Names of the sandboxes that are being made, idle, running or being removed. */
  readonly #inUse = new Set<string>();
  /** Bytes booked by each sandbox, until its removal is confirmed. */
  readonly #booked = new Map<string, number>();
  /** Uids of the sandboxes that serve, or served and are not confirmed to be gone. */
  readonly #uids = new Map<string, HeldUid>();

  constructor(options: SandboxLedgerOptions) {
    this.#options = options;
  }

  get inUse(): ReadonlySet<string> {
    return this.#inUse;
  }

  /** Names that are not in use and still book memory: katafleet does not know whether the sandbox is gone. */
  get doubtful(): string[] {
    return Array.from(this.#booked.keys()).filter((name) => !this.#inUse.has(name));
  }

  /** Names a sandbox that is about to be made. The bytes are reserved already. */
  begin(bytes: number): string {
    const name = `${this.id}/${(this.#named += 1)}`;
    this.#inUse.add(name);
    this.#booked.set(name, bytes);
    return name;
  }

  /** A sandbox books other bytes than before. The books know already. */
  rebook(name: string, bytes: number): void {
    this.#booked.set(name, bytes);
  }

  /** A uid that the sandbox has until it is gone. */
  uid(name: string, machine: string): number {
    const held = this.#options.uids.take(machine);
    this.#uids.set(name, held);
    return held.uid;
  }

  /** A sandbox is not needed any more. Its memory stays booked until it is known to be gone. */
  abandon(name: string): void {
    this.#inUse.delete(name);
  }

  /** A sandbox is known to be gone: its memory and its uid are free. */
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
