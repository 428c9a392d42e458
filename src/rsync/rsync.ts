import { chmod, chown, mkdir, rm, writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { Memo } from '../base/memo.ts';
import { KatafleetError } from '../model/errors.ts';
import { encodePath } from '../model/paths.ts';
import type { ListedFile, ReturnedFile } from '../model/result.ts';
import { sandboxUser } from '../model/users.ts';
import { makeFolder } from '../files/make-folder.ts';
import { endConnections } from './connections.ts';
import { MachineDaemon, OwnDaemon, type RsyncDaemon } from './daemon.ts';
import { dropBounds, exceeds, readDrop, removeDrops } from './drop.ts';
import {
  canBePath,
  type Credentials,
  lockFile,
  type DaemonModule,
  type ModuleSettings,
  moduleText,
  newCredentials,
  pullCommand,
  pushCommand,
  type RsyncCommand,
  secretsFile,
  secretsText,
} from './modules.ts';
import { openSource } from './source.ts';

export interface RsyncOptions {
  daemon: 'own' | 'machine';
  program: string;
  /** Versions that are accepted although they are below the security fixes. */
  accept: readonly string[];
  /** The folder of configuration, secrets and drops: an absolute path without blanks at its ends. */
  folder: string;
  /** The daemon's address for katafleet. */
  listen: { host: string; port: number };
  /** The daemon's address for sandboxes. */
  advertise: { host: string; port: number };
  hostsAllow: readonly string[];
  /** Folders below which sources may lie (absolute paths). */
  roots: readonly string[];
  /** Time limit of one transfer (ms). */
  timeoutMs: number;
  /** Changed files come back by rsync from this size on (bytes). */
  pushFrom: number;
  onTrouble?: (message: string) => void;
}

/** A module while it exists: the command that uses it. Disposing it ends the module. */
export interface Pull extends AsyncDisposable {
  command: RsyncCommand;
}

export interface Drop extends Pull {
  /** Ends the module and reads the files that came; undefined if they are not the listed ones. */
  take(): Promise<ReturnedFile[] | undefined>;
}

const watchMs = 100;

/** Adds a module to the rsync daemon for each transfer of a run, and removes it after the transfer. */
export class Rsync {
  readonly #options: RsyncOptions;
  readonly #daemon: RsyncDaemon;
  readonly #settings: ModuleSettings;
  readonly #modules = new Map<string, string>();
  #writing: Promise<void> = Promise.resolve();
  readonly #prepared = new Memo(() => this.#prepare());

  /** Starts nothing: `ready` does. */
  constructor(options: RsyncOptions, daemon?: RsyncDaemon) {
    const { folder, hostsAllow, timeoutMs } = options;
    this.#options = options;
    this.#settings = {
      hostsAllow,
      folder: `${folder}/secrets`,
      logFile: `${folder}/rsyncd.log`,
      timeout: Math.max(1, Math.ceil(timeoutMs / 1000)),
    };
    this.#daemon = daemon ?? (options.daemon === 'own' ? new OwnDaemon(options) : new MachineDaemon(options));
  }

  get timeoutMs(): number {
    return this.#options.timeoutMs;
  }

  get pushFrom(): number {
    return this.#options.pushFrom;
  }

  trouble(message: string): void {
    this.#options.onTrouble?.(message);
  }

  /** Resolves when the daemon answers; starts katafleet's own daemon if that is configured. @throws rsync.daemon */
  async ready(): Promise<void> {
    await this.#prepared.get();
    await this.#daemon.ready();
  }

  async #prepare(): Promise<void> {
    if (process.getuid?.() !== 0) {
      throw new KatafleetError('rsync.daemon', 'rsync needs katafleet to run as root: each module is confined to its folder by chroot', {
        hint: 'start katafleet as root, or set rsync.daemon: off',
      });
    }
    const { folder } = this.#options;
    if (!canBePath(folder)) {
      throw new KatafleetError('rsync.daemon', `rsync.folder ${JSON.stringify(folder)} has a character that rsyncd.conf cannot express`);
    }
    await rm(`${folder}/secrets`, { recursive: true, force: true }); // left by a katafleet that was killed
    await removeDrops(`${folder}/drops`);
    for (const made of [folder, `${folder}/secrets`, `${folder}/drops`]) await makeFolder(made, 0o700);
    await chmod(folder, 0o700);
    await this.#publish();
  }

  /** Checks that a run may name this folder. @throws rsync.source, rsync.daemon */
  async check(path: string): Promise<void> {
    const source = await openSource(path, this.#options.roots);
    await source[Symbol.asyncDispose]();
    await this.ready();
  }

  /** Adds a module from which one sandbox can read a folder. @throws rsync.source, rsync.daemon */
  async pull(path: string): Promise<Pull> {
    const source = await openSource(path, this.#options.roots);
    try {
      await this.ready();
      const credentials = newCredentials();
      const { path: held, uid, gid } = source;
      await this.#add({ kind: 'pull', credentials, path: held, uid, gid });
      const end = async () => {
        try {
          await this.#remove(credentials);
        } finally {
          await source[Symbol.asyncDispose]();
        }
      };
      return { command: pullCommand(this.#advertised, credentials), [Symbol.asyncDispose]: end };
    } catch (error) {
      await source[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Adds a module with an empty folder, to which one sandbox can write these files. @throws rsync.daemon */
  async drop(listed: readonly ListedFile[]): Promise<Drop> {
    await this.ready();
    const credentials = newCredentials();
    const path = `${this.#options.folder}/drops/${credentials.module}`;
    const finished = new AbortController();
    try {
      await mkdir(path, { mode: 0o700 });
      await chown(path, sandboxUser.uid, sandboxUser.gid);
      await this.#add({ kind: 'drop', credentials, path, ...sandboxUser });
    } catch (error) {
      await removeDrops(path);
      throw error;
    }
    const watching = this.#watch(path, listed, finished.signal);
    let sealed: Promise<void> | undefined;
    const seal = () => (sealed ??= this.#seal(credentials, path, finished, watching));
    const names = listed.map((file) => encodePath(file.path));
    return {
      command: pushCommand(this.#advertised, credentials, names),
      take: async () => {
        await seal();
        return readDrop(path, listed);
      },
      [Symbol.asyncDispose]: async () => {
        try {
          await seal();
        } finally {
          await removeDrops(path);
        }
      },
    };
  }

  /** Ends the module: after this, nothing can be written to its folder. */
  async #seal(credentials: Credentials, path: string, finished: AbortController, watching: Promise<void>): Promise<void> {
    finished.abort();
    try {
      await this.#remove(credentials);
    } finally {
      await endConnections(path);
      await watching;
    }
  }

  /** Disconnects a sandbox that sends more than it listed: the daemon itself has no such bound. */
  async #watch(path: string, listed: readonly ListedFile[], finished: AbortSignal): Promise<void> {
    const bounds = dropBounds(listed);
    while (!finished.aborted) {
      await sleep(watchMs, undefined, { signal: finished }).catch(() => undefined); // aborted at the end of the transfer
      if (finished.aborted || !(await exceeds(path, bounds))) continue;
      this.trouble('a sandbox sent more than it had listed; its connection is ended');
      await endConnections(path);
    }
  }

  get #advertised(): { host: string; port: number; timeout: number } {
    return { ...this.#options.advertise, timeout: this.#settings.timeout };
  }

  async #add(module: DaemonModule): Promise<void> {
    const { credentials } = module;
    try {
      await writeFile(secretsFile(this.#settings, credentials), secretsText(credentials), { mode: 0o600, flag: 'wx' });
      this.#modules.set(credentials.module, moduleText(module, this.#settings));
      await this.#publish();
    } catch (error) {
      this.#modules.delete(credentials.module); // else the next publication would include it
      await rm(secretsFile(this.#settings, credentials), { force: true });
      throw error;
    }
  }

  /** Removes a module. Without its secret no one can use it, even if the daemon still serves it. */
  async #remove(credentials: Credentials): Promise<void> {
    this.#modules.delete(credentials.module);
    try {
      await this.#publish();
    } finally {
      await rm(secretsFile(this.#settings, credentials), { force: true });
      await rm(lockFile(this.#settings, credentials), { force: true });
    }
  }

  /** Writes the modules, one write after another. Each write contains every change that was made before it began. */
  #publish(): Promise<void> {
    const written = this.#writing.then(() => this.#daemon.publish(Array.from(this.#modules.values())));
    this.#writing = written.catch(() => undefined); // the caller gets the error
    return written;
  }

  /** Removes every module, and ends katafleet's own daemon. */
  async close(): Promise<void> {
    if (!this.#prepared.current) return;
    await this.#prepared.current.catch(() => undefined); // `ready` reported it
    this.#modules.clear();
    await this.#publish();
    await this.#daemon.close();
  }
}
