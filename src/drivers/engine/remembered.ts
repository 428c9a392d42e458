import { chmod, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, isAbsolute, join } from 'node:path';
import { makeFolder } from '../../files/make-folder.ts';

/** Most lines in the file: more images than one person's nodes have. */
const most = 1_000;

/** Facts that outlive the process. A cache: losing it costs only time. */
export interface Remembered {
  has(fact: string): Promise<boolean>;
  add(fact: string): Promise<void>;
}

/** Returns the folder for caches, by the XDG base directory specification. */
export function cacheFolder(env: NodeJS.ProcessEnv): string {
  const given = env['XDG_CACHE_HOME'] ?? '';
  return join(isAbsolute(given) ? given : join(env['HOME'] || homedir(), '.cache'), 'katafleet'); // a relative path must be ignored
}

/**
 * Facts in a file, one line each, so that `katafleet run` need not look into its image at each call. A file that another user could have
 * written is ignored. If the file can't be written, nothing is remembered.
 */
export class RememberedFacts implements Remembered {
  readonly #file: string;
  #facts: Promise<Set<string>> | undefined;

  constructor(file: string) {
    this.#file = file;
  }

  async has(fact: string): Promise<boolean> {
    return (await this.#read()).has(fact);
  }

  async add(fact: string): Promise<void> {
    const facts = await this.#read();
    facts.add(fact);
    try {
      await makeFolder(dirname(this.#file), 0o700);
      const draft = `${this.#file}.${process.pid}`;
      await writeFile(draft, `${[...facts].slice(-most).join('\n')}\n`, { mode: 0o600 });
      await chmod(draft, 0o600);
      await rename(draft, this.#file);
    } catch {
      return; // no room or no permission: the next process looks again
    }
  }

  #read(): Promise<Set<string>> {
    this.#facts ??= this.#load().catch(() => new Set<string>()); // absent or unreadable: nothing is known
    return this.#facts;
  }

  async #load(): Promise<Set<string>> {
    for (const path of [dirname(this.#file), this.#file]) {
      const { uid, mode } = await stat(path);
      if (uid !== process.getuid?.() || (mode & 0o022) !== 0) return new Set();
    }
    return new Set((await readFile(this.#file, 'utf8')).split('\n').filter((line) => line !== ''));
  }
}
