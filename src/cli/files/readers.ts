import { constants } from 'node:os';

/** Exit code where nobody reads what is printed any more: what a shell tells of a program that SIGPIPE ended. */
export const readersGone = 128 + constants.signals.SIGPIPE;

interface Readers {
  gone: boolean;
}

let watched: Readers | undefined;

/**
 * Whoever reads the standard output may leave, as `head` does. Then a command that heeds Ctrl-C ends as after Ctrl-C, in
 * order and with its sandboxes removed, and any other at once. Nothing is said: nobody asked for more. What can't be
 * written on stderr is dropped.
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
