/** Where a run is in its life. `placed`: it has a node, which must get its image first; `acquiring`: it waits for its sandbox there. */
export const runStates = ['queued', 'placed', 'acquiring', 'executing', 'collecting'] as const;
export type RunState = (typeof runStates)[number];

export const faultKinds = [
  'kill katafleet',
  'kill engine',
  'stop engine',
  'full disk',
  'clock +1 h',
  'clock -1 h',
  'hung create',
  'frozen node',
  'cut node',
] as const;
export type FaultKind = (typeof faultKinds)[number];

export interface Pair {
  fault: FaultKind;
  state: RunState;
}

/** Counts how many runs each fault struck in each state. */
export class StrikeTable {
  readonly #counts = new Map<string, number>();
  readonly #strikes = new Map<FaultKind, number>();

  /** One strike of a fault, with the states of the runs that it met. */
  add(fault: FaultKind, states: readonly RunState[]): void {
    this.#strikes.set(fault, (this.#strikes.get(fault) ?? 0) + 1);
    for (const state of states) this.#counts.set(key(fault, state), this.count(fault, state) + 1);
  }

  count(fault: FaultKind, state: RunState): number {
    return this.#counts.get(key(fault, state)) ?? 0;
  }

  strikes(fault: FaultKind): number {
    return this.#strikes.get(fault) ?? 0;
  }

  /** Pairs with fewer runs than this. */
  rare(fewer: number, faults: readonly FaultKind[] = faultKinds): Pair[] {
    return faults.flatMap((fault) => runStates.filter((state) => this.count(fault, state) < fewer).map((state) => ({ fault, state })));
  }

  /** The table as text, a line for each fault. */
  toString(faults: readonly FaultKind[] = faultKinds): string {
    const row = (name: string, cells: readonly (string | number)[]) =>
      name.padEnd(16) + cells.map((cell) => String(cell).padStart(11)).join('');
    const head = row('fault', ['strikes', ...runStates]);
    const rows = faults.map((fault) => row(fault, [this.strikes(fault), ...runStates.map((state) => this.count(fault, state))]));
    return [head, ...rows].join('\n');
  }
}

const key = (fault: FaultKind, state: RunState) => `${fault}/${state}`;

/**
 * Chooses what to do next: usually a pair that has struck least, so that rare pairs are sought. Every pair is possible at any time.
 * @param possible the faults that can strike now
 */
export function nextPair(table: StrikeTable, possible: readonly FaultKind[], random: () => number): Pair | undefined {
  const pairs = table.rare(Infinity, possible);
  if (pairs.length === 0) return undefined;
  const least = Math.min(...pairs.map(({ fault, state }) => table.count(fault, state)));
  const sought = random() < 0.75 ? pairs.filter(({ fault, state }) => table.count(fault, state) === least) : pairs;
  return sought[Math.floor(random() * sought.length)];
}
