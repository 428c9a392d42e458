import { KatafleetError } from '../../../model/errors.ts';

/** The error for output of a docker command that can't be parsed. Its message shows the first bytes, escaped. */
export function malformed(command: string, expected: string, came: string): KatafleetError {
  const shown = JSON.stringify(came.length > 200 ? `${came.slice(0, 200)}…` : came);
  return new KatafleetError('engine.failed', `docker ${command}: expected ${expected}, got ${shown}`, {
    hint: 'run the same command on the node; if the shell prints something at login (.bashrc), remove that',
  });
}
