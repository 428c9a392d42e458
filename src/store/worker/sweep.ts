import { readdirSync, unlinkSync } from 'node:fs';
import { unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf } from '../../model/errors.ts';
import { segmentOf } from '../files.ts';

/** Removes the segments of earlier openings that no row names: katafleet was killed before they were committed, or after they were dead. */
export function sweep(folder: string, epoch: number, known: (name: string) => boolean): void {
  for (const name of namesIn(folder)) {
    const of = segmentOf(name);
    if (!of || of.epoch >= epoch || known(name)) continue;
    try {
      unlinkSync(join(folder, name));
    } catch {
      // The next opening tries it again.
    }
  }
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return []; // it is made with the first segment
  }
}

/** Removes files beside everything else: a large one takes the file system a while. */
export async function unlinkAll(folder: string, names: readonly string[], trouble: (message: string) => void): Promise<void> {
  for (const name of names) {
    await unlink(join(folder, name)).catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') trouble(`the segment ${name} can't be removed: ${messageOf(error)}`);
    });
  }
}
