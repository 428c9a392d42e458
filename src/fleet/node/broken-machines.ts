/** After a sandbox broke off under its run, the machine may lose its other sandboxes within this time, ms. */
const spreadMs = 5_000;

/** Remembers machines on which a sandbox has just broken off under its run, so that the next attempt avoids them. */
export class BrokenMachines {
  readonly #since = new Map<string, number>();

  /** When the last one broke off, ms on the steady clock. */
  last = -Infinity;

  brokeOff(machine: string): void {
    this.last = performance.now();
    this.#since.set(machine, performance.now());
  }

  has(machine: string): boolean {
    const since = this.#since.get(machine);
    if (since === undefined) return false;
    if (performance.now() - since < spreadMs) return true;
    this.#since.delete(machine);
    return false;
  }
}
