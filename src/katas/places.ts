import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { KatafleetError, messageOf } from '../model/errors.ts';
import { makeFolder } from '../files/make-folder.ts';
import { AvatarName, KataId } from './names.ts';

/** Paths below the store's folder. */
export class Places {
  readonly root: string;

  constructor(root: string) {
    this.root = root;
  }

  kata(id: string): string {
    return join(this.root, id);
  }

  /** A copy of the kata.json of every commit, which is read without git. */
  record(id: string): string {
    return join(this.kata(id), 'kata.json');
  }

  start(id: string): string {
    return join(this.kata(id), 'start.git');
  }

  avatar(id: string, name: string): string {
    return join(this.kata(id), 'avatars', name);
  }

  repository(id: string, name: string): string {
    return join(this.avatar(id, name), 'repository.git');
  }

  async katas(): Promise<string[]> {
    return (await names(this.root)).filter((name) => KataId.safeParse(name).success).sort();
  }

  async avatars(id: string): Promise<string[]> {
    return (await names(join(this.kata(id), 'avatars'))).filter((name) => AvatarName.safeParse(name).success).sort();
  }

  /**
   * Calls `body` with a new folder on the same file system, for files that are not complete yet. The folder is removed at the end
   * unless it was moved.
   */
  async staged<T>(body: (folder: string) => Promise<T>): Promise<T> {
    let folder: string;
    try {
      await makeFolder(this.root, 0o700);
      folder = await mkdtemp(join(this.root, '.new-'));
    } catch (cause) {
      throw new KatafleetError('kata.storage', `the folder of the katas can't be written to: ${messageOf(cause)}`, { cause });
    }
    try {
      return await body(folder);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }
}

async function names(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  });
  return entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
}
