import { type Outcome, outcomeFacts } from '../model/outcome.ts';

/** Returns the exit code of `katafleet run`, see docs/cli.md: the program's own, or those that shells and timeout(1) use. */
export function exitCodeOf(outcome: Outcome): number {
  const { exit } = outcomeFacts(outcome);
  return typeof exit === 'number' ? exit : exit.of(outcome);
}
