import type { Outcome } from './run.ts';

/** How a run ended, in words. */
export function sayOutcome(outcome: Outcome): string {
  switch (outcome.kind) {
    case 'exited':
      return `exited with ${outcome.code}`;
    case 'signalled':
      return `killed by signal ${outcome.signal}`;
    case 'timed_out':
      return outcome.clock === 'wall' ? 'timed out' : 'used up its CPU time';
    case 'out_of_memory':
      return 'out of memory';
    case 'out_of_disk':
      return 'out of disk';
    case 'cancelled':
      return 'cancelled';
    case 'lost':
      return `lost: ${outcome.reason}`;
  }
}
