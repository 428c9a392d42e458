import { constants } from 'node:os';

/** Exit code if the reader of the output has closed it: the one that a shell gives a program that SIGPIPE ended. */
export const readersGone = 128 + constants.signals.SIGPIPE;

interface Readers {
  gone: boolean;
}

let watched: Readers | undefined;

/**
 * Handles a reader that closes the standard output, as `head` does. A command that handles Ctrl-C then ends as after Ctrl-C, so that
 * its sandboxes are removed; any other command ends at once. It prints no error. Output that stderr does not take is dropped.
 */
export function watchReaders(): Readonly<Readers> {
  if (watched) return watched;
  const state: Readers = { gone: false };
  watched = state;
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    if (state.gone) return;
    state.gone = true;
    if (!process.emit('SIGINT')) process.exit(readersGone);
  });
  process.stderr.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
  });
  return state;
}
