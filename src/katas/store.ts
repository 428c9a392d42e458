import { randomInt } from 'node:crypto';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import PQueue from 'p-queue';
import { MiB } from '../base/units.ts';
import { MemoMap } from '../base/memo.ts';
import { KatafleetError, messageOf } from '../model/errors.ts';
import { Avatar, type AvatarServices } from './avatar.ts';
import type { Given, RunTest, Tested, TestOptions } from './avatar-test.ts';
import type { Start } from './branch.ts';
import { exportBundle, importBundle } from './bundle.ts';
import { inTree, startCommit } from './commits.ts';
import type { Retries } from './committer.ts';
import { importCommits } from './fast-import.ts';
import { Git } from './git.ts';
import { avatarName, kataId } from './names.ts';
import { Places } from './places.ts';
import { type LogEntry, readHistory, readObjects, readSnapshot, readTip, type Snapshot, withContents } from './read.ts';
import { json, type KataRecord, readKataRecord, readTestRecord, type TestRecord } from './record.ts';
import { makeRepository, syncFolder } from './repository.ts';
import { noFiles, type KataFiles } from './kata-files.ts';
import { submit } from './sandbox.ts';
import { readStartPoint, type StartPoint } from './start-point.ts';

export interface KatasOptions {
  /** The folder of the katas; created with the first kata. */
  folder: string;
  /** Runs a test's request and returns its result. */
  run: RunTest;
  /** Reports a failure beside a test, in one line. */
  trouble?: (message: string) => void;
  git?: Git;
  retries?: Retries;
  /** How long another process may work on an avatar before a test is refused (ms); two minutes if absent. */
  lockWaitMs?: number;
}

/** A test's record and its output. */
export interface ShownTest {
  record: TestRecord;
  stdout: Buffer;
  stderr: Buffer;
}

/** Most idle avatars in memory, and most bytes of their contents. */
const mostKept = { avatars: 500, bytes: 64 * MiB };
/** Without letters that are easily confused when an id is read aloud. */
const letters = 'abcdefghjkmnpqrstuvwxyz23456789';

/** The katas of a folder. */
export class Katas implements AsyncDisposable {
  readonly #places: Places;
  readonly #git: Git;
  readonly #services: AvatarServices;
  /** By `kata/avatar`, the last used last. */
  readonly #avatars = new Map<string, Avatar>();
  readonly #records = new MemoMap<string, KataRecord>();
  readonly #starts = new MemoMap<string, Snapshot>();

  constructor({ folder, run, trouble = () => undefined, git = new Git(), retries, lockWaitMs = 120_000 }: KatasOptions) {
    this.#places = new Places(folder);
    this.#git = git;
    this.#services = { git, run, trouble, lockWaitMs, ...(retries ? { retries } : {}) };
  }

  /** Makes the commits that an earlier katafleet left. Returns the number of their tests. */
  async recover(): Promise<number> {
    const queue = new PQueue({ concurrency: 8 });
    let found = 0;
    for (const kata of await this.#places.katas()) {
      for (const name of await this.#places.avatars(kata)) {
        void queue.add(async () => {
          try {
            const owed = await (await this.#avatar(kata, name)).recover();
            found += owed; // in one step, because avatars are recovered side by side
          } catch (error) {
            this.#services.trouble(`${kata}/${name}: its last test is not taken up: ${messageOf(error)}`);
          }
        });
      }
    }
    await queue.onIdle();
    return found;
  }

  /** Creates a kata. @param id random if absent @throws kata.invalid, kata.exists, files.*, kata.git */
  async create(startPoint: string | StartPoint, id = newId()): Promise<KataRecord> {
    kataId(id);
    const { manifest, rules, files } = typeof startPoint === 'string' ? await readStartPoint(startPoint) : startPoint;
    const record: KataRecord = { version: 1, id, created: new Date().toISOString(), manifest, rules };
    const { sandbox, leftOut } = submit(noFiles, files);
    if (leftOut[0])
      throw new KatafleetError('kata.invalid', `the start-point names ${JSON.stringify(leftOut[0].path)}, which no repository may hold`);
    await this.#places.staged(async (folder) => {
      await makeRepository(this.#git, join(folder, 'start.git'));
      await importCommits(this.#git, join(folder, 'start.git'), [startCommit(record, sandbox)], undefined);
      await this.#install(folder, record);
    });
    return record;
  }

  /** Lists the katas, oldest first, with their avatars. */
  async list(): Promise<{ kata: KataRecord; avatars: string[] }[]> {
    const found = await Promise.all(
      (await this.#places.katas()).map(async (id) => ({ kata: await this.kata(id), avatars: await this.#places.avatars(id) })),
    );
    return found.sort((a, b) => (a.kata.created < b.kata.created ? -1 : 1));
  }

  /** Returns a kata. @throws kata.unknown */
  async kata(id: string): Promise<KataRecord> {
    kataId(id);
    return this.#records.get(id, () => this.#read(id));
  }

  async #read(id: string): Promise<KataRecord> {
    const file = this.#places.record(id);
    const bytes = await readFile(file).catch((cause: unknown) => {
      throw new KatafleetError('kata.unknown', `there is no kata ${id} in ${this.#places.root}`, {
        cause,
        hint: 'katafleet kata list shows those that there are',
      });
    });
    return readKataRecord(bytes, file);
  }

  /**
   * Runs a test. The submitted files replace the avatar's (if none are given, its own are used), and the changes are kept by the rules.
   * The answer does not wait for git. An avatar is created with its first test.
   * @throws what the run throws, kata.*, files.*
   */
  async test(kata: string, avatar: string, given: Given | undefined, options: TestOptions = {}): Promise<Tested> {
    return (await this.#avatar(kata, avatar)).test(given, options);
  }

  /** Returns an avatar's history, newest first, without tests whose commits are not made yet. @throws kata.unknown */
  async log(kata: string, avatar: string, most?: number): Promise<LogEntry[]> {
    const { repository, tip } = await this.#tip(kata, avatar);
    return readHistory(this.#git, repository, tip, most);
  }

  /** Returns a test of an avatar, the last one by default. @throws kata.unknown */
  async show(kata: string, avatar: string, test?: number): Promise<ShownTest> {
    const { repository, tip } = await this.#tip(kata, avatar);
    const { commit } = await this.#entry(
      kata,
      avatar,
      (entry) => entry.kind === 'tested' && (test === undefined || entry.test === test),
      test,
    );
    const [record, stdout, stderr] = await readObjects(
      this.#git,
      repository,
      [inTree.test, inTree.stdout, inTree.stderr].map((name) => `${commit}:${name}`),
      512 * MiB,
    );
    if (!record) throw new KatafleetError('kata.unknown', `${avatar} has no test yet`, { hint: `its branch is at ${tip}` });
    return {
      record: readTestRecord(record, `${repository}: ${inTree.test}`),
      stdout: stdout ?? Buffer.alloc(0),
      stderr: stderr ?? Buffer.alloc(0),
    };
  }

  /** Returns the sandbox folder after a test, by default the last one: the visible files, or the hidden ones too. @throws kata.unknown */
  async files(kata: string, avatar: string, { test, hidden = false }: { test?: number; hidden?: boolean } = {}): Promise<KataFiles> {
    const { repository, tip } = await this.#tip(kata, avatar);
    const commit = test === undefined ? tip : (await this.#entry(kata, avatar, (entry) => entry.test === test, test)).commit;
    const { sandbox } = await readSnapshot(this.#git, repository, commit);
    const wanted = hidden ? sandbox : shownOf(sandbox);
    return withContents(this.#git, repository, wanted, () => true);
  }

  /** Writes a kata with all its avatars, or one of them, as a git bundle. @throws kata.unknown, output.unwritable */
  async export(kata: string, file: string, avatar?: string): Promise<void> {
    await this.kata(kata);
    const names = avatar === undefined ? await this.#places.avatars(kata) : [avatarName(avatar)];
    if (avatar !== undefined) await this.#tip(kata, avatar);
    await exportBundle(this.#git, this.#places, kata, names, file);
  }

  /** Imports a kata from a bundle, which may come from an untrusted source. @throws bundle.invalid, kata.exists */
  async import(file: string, id?: string): Promise<KataRecord> {
    if (id !== undefined) kataId(id);
    return this.#places.staged(async (folder) => {
      const record = await importBundle(this.#git, file, folder, id);
      await this.#install(folder, record);
      return record;
    });
  }

  /** Returns the repository of an avatar, to serve clones. @throws kata.unknown */
  async repository(kata: string, avatar: string): Promise<string> {
    return (await this.#tip(kata, avatar)).repository;
  }

  /** Waits for tests and commits under way. */
  async close(): Promise<void> {
    await Promise.all(Array.from(this.#avatars.values(), (avatar) => avatar.close()));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #avatar(kata: string, name: string): Promise<Avatar> {
    const key = `${kataId(kata)}/${avatarName(name)}`;
    const record = await this.kata(kata);
    const known = this.#avatars.get(key) ?? new Avatar(record, name, this.#places.avatar(kata, name), this.#start(kata), this.#services);
    this.#avatars.delete(key);
    this.#forget();
    this.#avatars.set(key, known);
    return known;
  }

  #start(kata: string): Start {
    const repository = this.#places.start(kata);
    const read = async () => readSnapshot(this.#git, repository, readTip(repository) ?? '');
    return { repository, read: () => this.#starts.get(kata, read) };
  }

  /** Removes idle avatars from memory while there are too many, least recently used first. */
  #forget(): void {
    let bytes = 0;
    for (const avatar of this.#avatars.values()) bytes += avatar.contentBytes;
    for (const [key, avatar] of this.#avatars) {
      if (this.#avatars.size < mostKept.avatars && bytes <= mostKept.bytes) return;
      if (!avatar.idle) continue;
      bytes -= avatar.contentBytes;
      this.#avatars.delete(key);
    }
  }

  async #tip(kata: string, avatar: string): Promise<{ repository: string; tip: string }> {
    await this.kata(kata);
    const repository = this.#places.repository(kata, avatarName(avatar));
    const tip = readTip(repository);
    if (tip !== undefined) return { repository, tip };
    const known = await this.#places.avatars(kata);
    throw new KatafleetError('kata.unknown', `the kata ${kata} has no avatar ${avatar}`, {
      hint: known.length > 0 ? `there are: ${known.join(', ')}` : 'an avatar is created with its first test',
    });
  }

  async #entry(kata: string, avatar: string, fits: (entry: LogEntry) => boolean, test: number | undefined): Promise<LogEntry> {
    const history = await this.log(kata, avatar);
    const entry = history.find(fits);
    if (entry) return entry;
    const last = history.find(({ kind }) => kind === 'tested')?.test ?? 0;
    throw new KatafleetError('kata.unknown', `${avatar} has no test${test === undefined ? '' : ` ${test}`}`, {
      hint: last > 0 ? `its last one is ${last}` : 'it has not tested yet',
    });
  }

  /** Moves a kata to its place, as a whole or not at all. */
  async #install(folder: string, record: KataRecord): Promise<void> {
    await mkdir(join(folder, 'avatars'), { recursive: true });
    await writeFile(join(folder, 'kata.json'), json(record), { flush: true });
    await syncFolder(folder);
    await rename(folder, this.#places.kata(record.id)).catch((cause: unknown) => {
      const { code } = cause as NodeJS.ErrnoException;
      if (code === 'ENOTEMPTY' || code === 'EEXIST')
        throw new KatafleetError('kata.exists', `there is a kata ${record.id} already`, { cause });
      throw cause;
    });
    await syncFolder(this.#places.root);
  }
}

export function shownOf({ files, folders }: KataFiles): KataFiles {
  const shown = <T extends { hidden: boolean }>(entries: ReadonlyMap<string, T>) =>
    new Map([...entries].filter(([, { hidden }]) => !hidden));
  return { files: shown(files), folders: shown(folders) };
}

function newId(): string {
  return Array.from({ length: 10 }, () => letters[randomInt(letters.length)]).join('');
}
