import { KatafleetError } from '../../../model/errors.ts';

/** The error for output of a docker command that can't be parsed. Its message shows the first bytes, escaped. */
export function malformed(command: string, expected: string, output: string): KatafleetError {
  const shown = JSON.stringify(output.length > 200 ? `${output.slice(0, 200)}…` : output);
  return new KatafleetError('engine.failed', `docker ${command}: expected ${expected}, got ${shown}`, {
    hint: 'run the same command on the node; if the shell prints something at login (.bashrc), remove that',
  });
}
