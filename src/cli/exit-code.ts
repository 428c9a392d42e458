import { type Outcome, outcomeFacts } from '../model/outcome.ts';

/** The exit code of `katafleet run`, as docs/cli.md has it: the program's own, and what shells and timeout(1) use. */
export function exitCodeOf(outcome: Outcome): number {
  const { exit } = outcomeFacts(outcome);
  return typeof exit === 'number' ? exit : exit.of(outcome);
}
