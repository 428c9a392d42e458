import type { RunNotice } from '../../client/client.ts';
import { exactDuration } from '../../model/quantity.ts';

/**
 * Returns what says the notices of a run on a server in words.
 * @param tell says what is good to know
 * @param warn says what is wrong with the output that was printed; it must be said even to those who want the output only
 */
export function serverNotices(tell: (text: string) => void, warn: (text: string) => void): (notice: RunNotice) => void {
  let id: string | undefined;
  return (notice) => {
    switch (notice.kind) {
      case 'accepted':
        id = notice.id;
        return;
      case 'trouble': {
        const kept = id === undefined ? '' : `; the server has accepted the run ${id}`;
        if (notice.ms > 0) tell(`${notice.error.message}: trying again for ${exactDuration(Math.round(notice.ms))}${kept}`);
        return;
      }
      case 'again':
        tell('the server answers again');
        return;
      case 'void': {
        const why = notice.reason === undefined ? '' : ` (${notice.reason})`;
        warn(`attempt ${notice.attempt} was lost${why}: what it printed above is void`);
        return;
      }
      case 'gap':
        warn(
          notice.late
            ? 'the output came faster than it was read: the rest is printed when the run has ended'
            : 'some of the output is missing: the server does not have it any more',
        );
    }
  };
}

/** Watches the attempts of a run on a fleet of this process: its output is void as well if its attempt is lost. */
export function voidAttempts(told: (notice: RunNotice) => void): { onAttempt: (attempt: number) => void; printed: () => void } {
  let [current, printed]: [number | undefined, boolean] = [undefined, false];
  return {
    onAttempt: (attempt) => {
      if (current !== undefined && printed) told({ kind: 'void', attempt: current });
      [current, printed] = [attempt, false];
    },
    printed: () => {
      printed = true;
    },
  };
}
