import { createHash } from 'node:crypto';
import { defaultModes, placedNs, type SandboxFile, type SandboxFolder } from '../../model/request.ts';
import type { Changes } from '../../model/result.ts';

interface Known {
  /** SHA-256 of its bytes; undefined if unknown. */
  hash: string | undefined;
  mode: number;
  /** The time stamp that it was sent or returned with. The sandbox may have given it a newer one. */
  mtimeNs: bigint | undefined;
  /** Whether the caller sent it; else a tool made it. */
  given: boolean;
}

/** The changes that give a sandbox's folder the files of a run: first the removals, in their order, then files, then folders. */
export interface Delta {
  remove: readonly string[];
  files: readonly SandboxFile[];
  folders: readonly SandboxFolder[];
}

/** The clock for files that are sent (ns). */
export interface FileClock {
  /** The time stamp of a file that has none. */
  placed: bigint;
  /** Later than everything that an earlier run built; absent if the supervisor ensures this, by its more exact clock. */
  now?: bigint | undefined;
}

/**
 * The content of a kept sandbox's folder, as far as the host knows it: files that were sent and returned. Files of tools stay, so that
 * a build can continue; files that the caller no longer sends are removed.
 */
export class SandboxState {
  readonly #files = new Map<string, Known>();
  /** Folders of tools, which must not be removed together with the folder around them. */
  readonly #folders = new Set<string>();
  /** Folders that the caller sent; the supervisor reports their removal. */
  readonly #asked = new Set<string>();
  /** Paths that the last run did not return, which must not be removed either. */
  #omitted = new Set<string>();
  /** Whether a run has ended here. */
  #served = false;

  /** Returns the paths that a run can delete, which the supervisor knows. */
  *known(): Generator<string> {
    yield* this.#files.keys();
    yield* this.#folders;
    yield* this.#asked;
  }

  get #others(): string[] {
    return [...this.#folders, ...this.#omitted];
  }

  /**
   * Returns what must be sent. Changes nothing; {@link sent} records it. A file whose content differs from the one in the folder gets a
   * time stamp newer than anything built from that one, whatever its own is.
   */
  delta(files: readonly SandboxFile[], folders: readonly SandboxFolder[], clock: FileClock = { placed: placedNs(Date.now()) }): Delta {
    const wanted = new Set(files.map(({ path }) => path));
    const asked = new Set(folders.map(({ path }) => path));
    const parents = new Set([...wanted, ...asked].flatMap(above));
    const needed = (path: string) => wanted.has(path) || parents.has(path) || asked.has(path);
    const others = this.#others;
    const gone = Array.from(this.#files).flatMap(([path, { given }]) => (given && !wanted.has(path) ? [path] : []));
    const inTheWay = [
      // A file where a folder has to be, and a folder where a file has to be.
      ...Array.from(this.#files.keys()).filter((path) => parents.has(path)),
      ...[...this.#files.keys(), ...others].flatMap((path) => above(path).filter((folder) => wanted.has(folder))),
      ...others.filter((path) => wanted.has(path)),
    ];
    const remove = new Set([...inTheWay, ...this.#emptied(gone, needed), ...gone]);
    const swept = (path: string) => remove.has(path) || above(path).some((folder) => remove.has(folder));
    return {
      remove: [...remove].filter((path) => !above(path).some((folder) => remove.has(folder))),
      files: files.filter((file) => swept(file.path) || !this.#has(file)).map((file) => this.#aged(file, clock)),
      folders,
    };
  }

  #has(file: SandboxFile): boolean {
    return this.#files.get(file.path)?.mode === modeOf(file) && this.#holds(file);
  }

  #holds({ path, content }: SandboxFile): boolean {
    const hash = this.#files.get(path)?.hash;
    return hash !== undefined && content instanceof Uint8Array && hash === hashOf(content);
  }

  #aged(file: SandboxFile, { placed, now }: FileClock): SandboxFile {
    const known = this.#files.get(file.path);
    const { mtimeNs = known?.mtimeNs ?? placed } = file;
    if (!(file.content instanceof Uint8Array) || this.#holds(file)) return { ...file, mtimeNs };
    const doubted = known?.hash === undefined ? known?.mtimeNs : undefined;
    const own = file.mtimeNs ?? doubted ?? placed;
    return { ...file, mtimeNs: this.#served && now !== undefined && now > own ? now : own };
  }

  /** Returns the folders that are empty once some files are removed. */
  #emptied(gone: readonly string[], needed: (path: string) => boolean): string[] {
    const going = new Set(gone);
    const alive = new Set([...this.#files.keys()].filter((path) => !going.has(path)).flatMap(above));
    for (const path of this.#others) for (const folder of [path, ...above(path)]) alive.add(folder);
    return gone.flatMap(above).filter((folder) => !alive.has(folder) && !needed(folder));
  }

  /** Records that the delta has arrived: the folder has the wanted files, which now count as the caller's. */
  sent(delta: Delta, wanted: readonly SandboxFile[]): void {
    this.#forget(delta.remove);
    for (const { path } of delta.folders) this.#asked.add(path);
    for (const file of delta.files) {
      const { path, mtimeNs, content } = file;
      const hash = content instanceof Uint8Array ? hashOf(content) : undefined;
      this.#files.set(path, { hash, mode: modeOf(file), mtimeNs, given: true });
    }
    for (const { path } of wanted) {
      const known = this.#files.get(path);
      if (known) known.given = true;
    }
  }

  /** Records the changes that a run returned. */
  returned(changes: Changes): void {
    this.#served = true;
    this.#forget(changes.deleted);
    for (const { path } of changes.folders) this.#folders.add(path);
    this.#omitted = new Set(changes.omitted.map(({ path }) => path));
    for (const { path } of [...changes.folders, ...changes.omitted]) this.#files.delete(path);
    for (const { path, mode, mtimeNs, content } of changes.files) {
      const given = this.#files.get(path)?.given ?? false;
      this.#files.set(path, { hash: hashOf(content), mode, mtimeNs, given });
      this.#folders.delete(path);
      this.#asked.delete(path);
    }
  }

  /** Records that not all changes were returned: the contents of files are unknown then, and they are sent again. */
  doubt(): void {
    for (const known of this.#files.values()) known.hash = undefined;
  }

  /** Forgets paths and everything below them in one pass, because a run can delete all files. */
  #forget(gone: readonly string[]): void {
    if (gone.length === 0) return;
    const paths = new Set(gone);
    const lost = (path: string) => paths.has(path) || above(path).some((folder) => paths.has(folder));
    for (const known of [this.#files, this.#folders, this.#asked, this.#omitted])
      for (const path of known.keys()) if (lost(path)) known.delete(path);
  }
}

/** Returns the folders of a path, the outermost first. */
function above(path: string): string[] {
  const folders: string[] = [];
  for (let at = path.indexOf('/'); at > 0; at = path.indexOf('/', at + 1)) folders.push(path.slice(0, at));
  return folders;
}

const modeOf = ({ mode }: SandboxFile): number => mode ?? defaultModes.file;

const hashOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('base64');
