import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { KatafleetError, messageOf } from '../model/errors.ts';
import { type CommitPlan, importCommits } from './fast-import.ts';
import type { Git } from './git.ts';
import { type LogEntry, readHistory, readSnapshot, readTip, type Snapshot, withContents } from './read.ts';
import { clearLeftovers, cloneRepository, tidy } from './repository.ts';
import type { KataFiles } from './kata-files.ts';

/** The start of a new avatar. */
export interface Start {
  repository: string;
  /** Reads its files. They never change, so all avatars share them. */
  read: () => Promise<Snapshot>;
}

/** An avatar's branch: its tip, its files, and new commits. The caller holds the avatar's lock. */
export class Branch {
  readonly repository: string;
  readonly #start: Start;
  readonly #git: Git;
  /** The tip after our last commit. */
  #tip: string | undefined;

  /** @param start the repository that a new avatar's is copied from, at its first commit */
  constructor(git: Git, repository: string, start: Start) {
    this.#git = git;
    this.repository = repository;
    this.#start = start;
  }

  /** Whether the tip is still ours: another process may have added commits. */
  get unmoved(): boolean {
    return this.#tip !== undefined && readTip(this.source) === this.#tip;
  }

  get tip(): string {
    return this.#tip ?? '';
  }

  /** Reads the files at the tip, with the contents of hidden files, and the last commit. @throws kata.* */
  async read(): Promise<Snapshot & { last: LogEntry | undefined }> {
    const { source } = this;
    const tip = readTip(source);
    if (tip === undefined) throw new KatafleetError('kata.git', `${source} has no branch main`);
    this.#tip = tip;
    if (source !== this.repository) return { ...(await this.#start.read()), last: undefined };
    await clearLeftovers(source, false);
    const [snapshot, [last]] = await Promise.all([readSnapshot(this.#git, source, tip), readHistory(this.#git, source, tip, 1)]);
    return { ...snapshot, sandbox: await this.contents(snapshot.sandbox, ({ hidden }) => hidden), last };
  }

  contents(sandbox: KataFiles, wanted: Parameters<typeof withContents>[3] = () => true): Promise<KataFiles> {
    return withContents(this.#git, this.source, sandbox, wanted);
  }

  /** Adds commits, all or none. @throws kata.git */
  async append(plans: readonly CommitPlan[]): Promise<string[]> {
    if (this.source !== this.repository) await cloneRepository(this.#start.repository, this.repository);
    const onto = (this.#tip ??= readTip(this.repository));
    let oids: string[] | undefined;
    try {
      oids = await importCommits(this.#git, this.repository, plans, onto);
    } catch (error) {
      await clearLeftovers(this.repository, true);
      oids = await this.#madeAfterAll(plans, onto);
      if (!oids) throw error;
    }
    this.#tip = oids.at(-1);
    return oids;
  }

  /** Packs many packs into few. A failure does no harm and is reported as a trouble. */
  async tidy(onTrouble: (message: string) => void): Promise<void> {
    await tidy(this.#git, this.repository).catch((error: unknown) => onTrouble(`its packs stay many: ${messageOf(error)}`));
  }

  /** The repository of its commits: a new avatar has none of its own before its first test. */
  get source(): string {
    return existsSync(join(this.repository, 'HEAD')) ? this.repository : this.#start.repository;
  }

  /** Returns the commits that a git process made before it was killed; undefined if it made none. */
  async #madeAfterAll(plans: readonly CommitPlan[], onto: string | undefined): Promise<string[] | undefined> {
    const now = readTip(this.repository);
    if (now === undefined || now === onto) return undefined;
    const history = (await readHistory(this.#git, this.repository, now, plans.length)).reverse();
    const same = plans.every(({ message }, index) => message.startsWith(`${history[index]?.subject ?? '\0'}\n`));
    return same ? history.map(({ commit }) => commit) : undefined;
  }
}
