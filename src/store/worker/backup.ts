import { copyFile, link, mkdir, open } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { segmentsFolder } from '../files.ts';
import type { Db } from './open.ts';

/** Pages that are copied between two turns of commands. */
const pagesAtOnce = 100;

/**
 * Copies the journal into a folder, while it is in use. The copy is as the journal is at the end. Segments, which are only added to, are
 * linked; they are copied if the folder is on another file system.
 * @param segments names of the segments that the copy needs, after it was made
 */
export async function backup(db: Db, to: string, folder: string | undefined, segments: () => string[]): Promise<void> {
  const copy = join(to, basename(db.name));
  await mkdir(to, { recursive: true, mode: 0o700 });
  const file = await open(copy, 'w', 0o600); // it holds users' files
  try {
    // The last step waits until all is on the disk: most of it is brought there beside the steps.
    let syncing = false;
    const progress = () => {
      if (!syncing) {
        syncing = true;
        void file
          .datasync()
          .catch(() => undefined) // the last step tells
          .finally(() => (syncing = false));
      }
      return pagesAtOnce;
    };
    await db.backup(copy, { progress });
  } finally {
    await file.close();
  }
  if (folder === undefined) return;
  const copies = segmentsFolder(copy);
  await mkdir(copies, { recursive: true, mode: 0o700 });
  for (const name of segments()) {
    const [from, at] = [join(folder, name), join(copies, name)];
    await link(from, at).catch(async (error: unknown) => {
      if ((error as NodeJS.ErrnoException).code !== 'EXDEV') throw error;
      await copyFile(from, at);
    });
  }
}
