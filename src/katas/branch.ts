import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { KatafleetError, messageOf } from '../model/errors.ts';
import { type CommitPlan, importCommits } from './fast-import.ts';
import type { Git } from './git.ts';
import { type LogEntry, readHistory, readSnapshot, readTip, type Snapshot, withContents } from './read.ts';
import { clearLeftovers, cloneRepository, tidy } from './repository.ts';
import type { KataFiles } from './kata-files.ts';

/** What a new avatar begins with. */
export interface Start {
  repository: string;
  /** What lies in it; it never changes, so that all avatars share it. */
  read: () => Promise<Snapshot>;
}

/** An avatar's branch: where it is, what lies there, and how it is moved on. Its user holds the avatar's lock. */
export class Branch {
  readonly repository: string;
  readonly #start: Start;
  readonly #git: Git;
  /** Where it is, as we left it. */
  #tip: string | undefined;

  /** @param start what a new avatar's repository is a copy of: it comes to be with the first commit */
  constructor(git: Git, repository: string, start: Start) {
    this.#git = git;
    this.repository = repository;
    this.#start = start;
  }

  /** Whether it is where we left it; another process may have been at work. */
  get unmoved(): boolean {
    return this.#tip !== undefined && readTip(this.source) === this.#tip;
  }

  get tip(): string {
    return this.#tip ?? '';
  }

  /** What lies there now, hidden contents at hand, with the last commit. @throws kata.* */
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

  /** Makes commits on top; all or none. @throws kata.git */
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

  /** Packs many packs into few. A failure harms nothing: it is told as a trouble. */
  async tidy(onTrouble: (message: string) => void): Promise<void> {
    await tidy(this.#git, this.repository).catch((error: unknown) => onTrouble(`its packs stay many: ${messageOf(error)}`));
  }

  /** Where its commits are: a new avatar has no repository before its first test. */
  get source(): string {
    return existsSync(join(this.repository, 'HEAD')) ? this.repository : this.#start.repository;
  }

  /** A git that was cut off may have moved the branch before. */
  async #madeAfterAll(plans: readonly CommitPlan[], onto: string | undefined): Promise<string[] | undefined> {
    const now = readTip(this.repository);
    if (now === undefined || now === onto) return undefined;
    const history = (await readHistory(this.#git, this.repository, now, plans.length)).reverse();
    const same = plans.every(({ message }, index) => message.startsWith(`${history[index]?.subject ?? '\0'}\n`));
    return same ? history.map(({ commit }) => commit) : undefined;
  }
}
