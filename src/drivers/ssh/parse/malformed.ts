import { KatafleetError } from '../../../model/errors.ts';

/** What a docker command printed is not what it prints. The first bytes of what came are shown, escaped. */
export function malformed(command: string, expected: string, came: string): KatafleetError {
  const shown = JSON.stringify(came.length > 200 ? `${came.slice(0, 200)}…` : came);
  return new KatafleetError('engine.failed', `docker ${command}: expected ${expected}, got ${shown}`, {
    hint: 'run the same command on the node; what its shell prints at login (.bashrc) comes before it and must go',
  });
}
