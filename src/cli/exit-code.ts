import type { Outcome } from '../model/outcome.ts';

/** The exit code of `katafleet run`, as docs/cli.md has it: the program's own, and what shells and timeout(1) use. */
export function exitCodeOf(outcome: Outcome): number {
  switch (outcome.kind) {
    case 'exited':
      return outcome.code;
    case 'signalled':
      return 128 + outcome.signal;
    case 'timed_out':
      return 124;
    case 'out_of_memory':
      return 137;
    case 'out_of_disk':
      return 153; // as after SIGXFSZ, with which the kernel ends what writes too much
    case 'cancelled':
      return 130;
    case 'lost':
      return 125;
  }
}
