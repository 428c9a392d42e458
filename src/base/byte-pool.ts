import { type ByteBounds, ByteBudget, type SharedBytes } from './byte-budget.ts';

/**
 * Memory that several {@link ByteBudget}s share. Each budget has a floor that is always its own; the rest belongs to whoever comes
 * first. So the budgets together hold at most the pool, plus what the first user of each needs, and none starves another.
 */
export class BytePool implements SharedBytes {
  readonly #most: number;
  readonly #budgets: ByteBudget[] = [];

  /** @param most bytes of memory */
  constructor(most: number) {
    this.#most = most;
  }

  /** Bytes of memory that are held. */
  get held(): number {
    return this.#budgets.reduce((sum, { memory }) => sum + memory, 0);
  }

  /** Whether nobody holds anything. */
  get empty(): boolean {
    return this.#budgets.every(({ held }) => held === 0);
  }

  /** Makes a budget of this memory. When memory is given back, those that were made first are served first. */
  budget(bounds: ByteBounds): ByteBudget {
    const budget = new ByteBudget(bounds, this);
    this.#budgets.push(budget);
    return budget;
  }

  /** Bytes that a budget may take now: what is left of its floor, and of the memory that is nobody's floor. */
  left(budget: ByteBudget): number {
    return (this.#ownLeft(budget) + this.#rest()) / budget.weight;
  }

  /** As {@link left} for users that do not wait: they take nothing from the rest while somebody waits for it. */
  leftAtOnce(budget: ByteBudget): number {
    return this.#budgets.some(({ awaited }) => awaited) ? this.#ownLeft(budget) / budget.weight : this.left(budget);
  }

  /** Grants what waits and has room now. */
  serve(): void {
    for (const budget of this.#budgets) budget.serve();
  }

  #ownLeft({ memory, reserved }: ByteBudget): number {
    return Math.max(0, reserved - memory);
  }

  #rest(): number {
    return Math.max(
      0,
      this.#budgets.reduce((left, { memory, reserved }) => left - Math.max(memory, reserved), this.#most),
    );
  }
}
