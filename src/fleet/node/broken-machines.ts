/** A machine on which one sandbox broke off under its run may take its other sandboxes with it within this time, ms. */
const spreadMs = 5_000;

/** Machines on which a sandbox broke off under its run a moment ago: the next attempt must not be lost with the same machine. */
export class BrokenMachines {
  readonly #since = new Map<string, number>();

  brokeOff(machine: string): void {
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
