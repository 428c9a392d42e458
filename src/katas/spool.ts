import { constants } from 'node:fs';
import { mkdir, open, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { deserialize, serialize } from 'node:v8';
import { crc32 } from 'node:zlib';
import type { SandboxFolder } from '../core/run.ts';
import type { Ending } from './record.ts';
import type { WholeFile } from './sandbox.ts';

/**
 * Why a file and not a ref. A test's two commits are made by git beside the run, and katafleet can end at any moment. What
 * it was told, and what it has answered, is therefore first written to a file of the test's own, in one write each: that
 * takes a fraction of a millisecond, where the first commit would take git tens; it is in the kernel's hands when the run
 * starts and when the answer is given, so the death of katafleet loses nothing; and an fsync follows beside the run, so a
 * power cut loses at most the last moments. A ref could only name what git has already written. The file goes when both
 * commits are on disk; one that is there at start is a test whose commits have to be made, which gives the same commits,
 * for they follow from these two sections and the commit before.
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

/** The first bytes of a section: `KATA`, the length of what follows, its CRC-32. */
const headBytes = 12;
const magic = Buffer.from('KATA');

/** A test's intent on disk. */
export class Spool {
  readonly file: string;
  readonly #folder: string;

  constructor(folder: string, test: number) {
    this.#folder = folder;
    this.file = join(folder, String(test).padStart(9, '0'));
  }

  /** In the kernel's hands when it resolves; `durable` resolves when it is on disk. Rejects as the file system does. */
  async begin(submission: Submission): Promise<{ durable: Promise<void> }> {
    return this.#write(submission, constants.O_CREAT | constants.O_EXCL);
  }

  async end(ended: Ended): Promise<{ durable: Promise<void> }> {
    return this.#write(ended, constants.O_APPEND);
  }

  /** Both commits are on disk. */
  async remove(): Promise<void> {
    await rm(this.file, { force: true });
  }

  async #write(section: Submission | Ended, flags: number): Promise<{ durable: Promise<void> }> {
    if (flags & constants.O_CREAT) await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    const body = serialize(section);
    const head = Buffer.alloc(headBytes);
    magic.copy(head);
    head.writeUInt32BE(body.length, 4);
    head.writeUInt32BE(crc32(body), 8);
    const handle = await open(this.file, constants.O_WRONLY | flags, 0o600);
    try {
      const { bytesWritten } = await handle.writev([head, body]);
      if (bytesWritten !== head.length + body.length) throw Object.assign(new Error('no room for it'), { code: 'ENOSPC' });
    } catch (error) {
      await handle.close();
      throw error;
    }
    return { durable: handle.sync().finally(() => handle.close()) };
  }
}

/** A test whose commits are not known to be made. Without `ended`, katafleet ended before the run did. */
export interface Unfinished {
  spool: Spool;
  submission: Submission;
  ended: Ended | undefined;
}

/** What is left in a folder of spools, in order. What was never whole was never acknowledged, and goes. */
export async function unfinished(folder: string): Promise<Unfinished[]> {
  const names = await readdir(folder).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  });
  const found: Unfinished[] = [];
  for (const name of names.filter((candidate) => /^\d{9}$/.test(candidate)).sort()) {
    const spool = new Spool(folder, Number(name));
    const [submission, ended] = sections(await readFile(spool.file)) as [Submission?, Ended?];
    if (submission) found.push({ spool, submission, ended });
    else await spool.remove();
  }
  return found;
}

function sections(bytes: Buffer): unknown[] {
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
