import { closeSync, mkdirSync, openSync, writev as writevWithCallback, writevSync } from 'node:fs';
import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { deserialize, serialize } from 'node:v8';
import { crc32 } from 'node:zlib';
import { MiB } from '../base/units.ts';
import type { SandboxFolder } from '../model/request.ts';
import type { Ending } from './record.ts';
import type { WholeFile } from './kata-files.ts';

/**
 * A test's intent. Its two commits are made by git beside the run, and katafleet can end at any moment; what it was told and
 * what it has answered is therefore first written to a file of the test's own, one write each, before the run starts and
 * before the answer is given. The file goes when both commits are on disk. One that is there at start is a test whose
 * commits have to be made, and they come out the same, for they follow from these two sections and the commit before.
 *
 * Why a file and not a ref: a ref could only name what git has already written, which takes tens of milliseconds and would
 * be waited for. Why without an fsync: the write is in the kernel's hands, so the death of katafleet loses nothing; against
 * a power cut it would be in time no sooner than git's own fsync of the commits, and would cost every test as much again.
 */
export interface Submission {
  test: number;
  /** ms since 1970. */
  at: number;
  image: string;
  /** Undefined: the avatar's own files as they were. */
  given: { files: WholeFile[]; folders: SandboxFolder[] } | undefined;
}

export interface Ended {
  at: number;
  ending: Ending;
}

const writev = promisify(writevWithCallback);
/** The first bytes of a section: `KATA`, the length of what follows, its CRC-32. */
const headBytes = 12;
const magic = Buffer.from('KATA');

/**
 * Sections up to this size are written at once. A hop to another thread costs more than the write, at a moment when the
 * sandbox that replaces the one just used is being started; larger ones must not hold up the others.
 */
const atOnce = MiB;

/** A test's intent on disk. */
export class Spool {
  readonly #folder: string;
  readonly #file: string;
  #fd: number | undefined;

  constructor(folder: string, test: number) {
    this.#folder = folder;
    this.#file = join(folder, String(test).padStart(9, '0'));
  }

  /** In the kernel's hands when it resolves. Rejects as the file system does. */
  async begin(submission: Submission): Promise<void> {
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    this.#fd = openSync(this.#file, 'wx', 0o600);
    await this.#write(this.#fd, submission);
  }

  /** Only after `begin`. */
  async end(ended: Ended): Promise<void> {
    if (this.#fd !== undefined) await this.#write(this.#fd, ended);
  }

  /** Both commits are on disk. */
  async remove(): Promise<void> {
    this.close();
    await rm(this.#file, { force: true });
  }

  /** Leaves it to a later start. */
  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }

  async sections(): Promise<unknown[]> {
    return sectionsOf(await readFile(this.#file));
  }

  async #write(fd: number, section: Submission | Ended): Promise<void> {
    const body = serialize(section);
    const head = Buffer.alloc(headBytes);
    magic.copy(head);
    head.writeUInt32BE(body.length, 4);
    head.writeUInt32BE(crc32(body), 8);
    const written = body.length <= atOnce ? writevSync(fd, [head, body]) : (await writev(fd, [head, body])).bytesWritten;
    if (written !== head.length + body.length) throw new Error('no room for it');
  }
}

/** A test whose commits are not known to be made. Without `ended`, katafleet ended before the run did. */
export interface UnfinishedTest {
  spool: Spool;
  submission: Submission;
  ended: Ended | undefined;
}

/** Whether a folder of spools holds any. */
export async function anyUnfinished(folder: string): Promise<boolean> {
  return (await spooled(folder)).length > 0;
}

/**
 * The tests that are left in a folder of spools, in order. A spool that was never whole was never acknowledged: it is removed. The caller has the
 * avatar's lock: without it, a spool may be one that another process is just writing.
 */
export async function unfinished(folder: string): Promise<UnfinishedTest[]> {
  const found: UnfinishedTest[] = [];
  for (const name of await spooled(folder)) {
    const spool = new Spool(folder, Number(name));
    const [submission, ended] = (await spool.sections()) as [Submission?, Ended?];
    if (submission) found.push({ spool, submission, ended });
    else await spool.remove();
  }
  return found;
}

async function spooled(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  });
  return names.filter((name) => /^\d{9}$/.test(name)).sort();
}

function sectionsOf(bytes: Buffer): unknown[] {
  const found: unknown[] = [];
  for (let at = 0; at + headBytes <= bytes.length;) {
    const length = bytes.readUInt32BE(at + 4);
    const body = bytes.subarray(at + headBytes, at + headBytes + length);
    if (!bytes.subarray(at, at + 4).equals(magic) || body.length < length || crc32(body) !== bytes.readUInt32BE(at + 8)) break;
    found.push(deserialize(body));
    at += headBytes + length;
  }
  return found;
}
