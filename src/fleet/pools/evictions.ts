/** An idle sandbox: its machine, and the bytes that it takes there. */
export interface IdleSandbox {
  machine: string;
  memory: number;
}

/**
 * Chooses the idle sandboxes to remove so that `memory` bytes become free: as few as possible, all on one machine, the largest first.
 * If no single machine has enough, chooses the largest of all machines. Pure.
 */
export function evictions<T extends IdleSandbox>(idle: readonly T[], memory: number): T[] {
  const largest = idle.toSorted((a, b) => b.memory - a.memory);
  const enough = (of: readonly T[]): { chosen: T[]; suffices: boolean } => {
    let [sum, count] = [0, 0];
    for (const one of of) {
      if (sum >= memory) break;
      sum += one.memory;
      count += 1;
    }
    return { chosen: of.slice(0, count), suffices: sum >= memory };
  };
  const machines = new Set(idle.map(({ machine }) => machine));
  let best: T[] | undefined;
  for (const machine of machines) {
    const { chosen, suffices } = enough(largest.filter((one) => one.machine === machine));
    if (suffices && (best === undefined || chosen.length < best.length)) best = chosen;
  }
  return best ?? enough(largest).chosen;
}
