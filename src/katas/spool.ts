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
 * A test's intent. Git makes a test's two commits beside the run, and katafleet can end at any moment. Therefore the submission and the
 * answer are first written to a file of the test's own, one write each: before the run starts, and before the answer is given. The file
 * is removed when both commits are on disk. If it exists at start, the test's commits must be made. They come out the same, because
 * they follow from the two sections and the commit before.
 *
 * Why a file and not a ref: a ref could only name what git has already written, which takes tens of milliseconds that the test would
 * wait for. Why no fsync: the kernel has the write, so nothing is lost if katafleet dies. Against a power cut an fsync would protect no
 * earlier than git's own fsync of the commits, and would double the cost of every test.
 */
export interface Submission {
  test: number;
  /** Unix ms. */
  at: number;
  image: string;
  /** Undefined: the avatar's files as they were. */
  given: { files: WholeFile[]; folders: SandboxFolder[] } | undefined;
}

export interface Ended {
  at: number;
  ending: Ending;
}

const writev = promisify(writevWithCallback);
/** Bytes of a section's head: `KATA`, the length of the body, its CRC-32. */
const headBytes = 12;
const magic = Buffer.from('KATA');

/**
 * Sections up to this size (bytes) are written synchronously. A switch to another thread would cost more than the write, just when a
 * new sandbox is being started. Larger sections must not block other work.
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

  /** Writes the submission. Resolves when the kernel has it. Rejects with the file system's error. */
  async begin(submission: Submission): Promise<void> {
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    this.#fd = openSync(this.#file, 'wx', 0o600);
    await this.#write(this.#fd, submission);
  }

  /** Writes the answer; only after `begin`. */
  async end(ended: Ended): Promise<void> {
    if (this.#fd !== undefined) await this.#write(this.#fd, ended);
  }

  /** Removes the file, after both commits are on disk. */
  async remove(): Promise<void> {
    this.close();
    await rm(this.#file, { force: true });
  }

  /** Closes the file, and leaves it to a later start. */
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

/** A test whose commits may be missing. Without `ended`, katafleet ended before the run did. */
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
 * Returns the tests in a folder of spools, in order. A spool that is not complete was never acknowledged and is removed. The caller has
 * the avatar's lock: without it, another process may just be writing the spool.
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
