import type { IncomingMessage } from 'node:http';
import type { Readable } from 'node:stream';
import type Dockerode from 'dockerode';
import tar from 'tar-stream';
import { posix } from 'node:path';
import { z } from 'zod';
import { minute } from '../../base/units.ts';
import { MemoMap } from '../../base/memo.ts';
import { labels } from '../../model/labels.ts';
import { isStatus } from '../docker/errors.ts';
import { supervisorPath } from '../docker/isolation.ts';
import { beginLook } from '../docker/looks.ts';
import type { SupervisorBinary } from '../docker/supervisor.ts';
import type { Remembered } from './remembered.ts';

/** Deadline of the container that looks into an image (ms), far longer than a look takes. It is reaped then if katafleet has crashed. */
const lookingMs = 10 * minute;

/** Most images whose verdict is remembered: more than a node has. */
const mostKnown = 1_000;

/** os.FileMode's bit for a folder, as the header below has it. Source: Go, io/fs, ModeDir. */
const modeDirectory = 0x8000_0000;

/** The field of the header X-Docker-Container-Path-Stat that is read. */
const PathStat = z.object({ mode: z.number() });

/**
 * Finds out which images contain the supervisor. It compares the bytes, because anyone can write a label, and the program at the
 * supervisor's path runs as root in the container. An image's id identifies its bytes, so it looks into each image once.
 */
export class SupervisorImages {
  readonly #verdicts = new MemoMap<string, boolean>(mostKnown);
  readonly #remembered: Remembered | undefined;

  /** @param remembered images in which earlier processes found the supervisor, by id and supervisor */
  constructor(remembered?: Remembered) {
    this.#remembered = remembered;
  }

  /** @throws what dockerode throws; then nothing is remembered */
  holds(docker: Dockerode, image: string, supervisor: SupervisorBinary): Promise<boolean> {
    const key = `${image} ${supervisor.sha256}`;
    return this.#verdicts.get(key, () => this.#find(key, () => lookInto(docker, image, supervisor)));
  }

  async #find(key: string, look: () => Promise<boolean>): Promise<boolean> {
    if (await this.#remembered?.has(key)) return true;
    const found = await look();
    if (found) await this.#remembered?.add(key);
    return found;
  }
}

async function lookInto(docker: Dockerode, image: string, supervisor: SupervisorBinary): Promise<boolean> {
  return withHelper(docker, image, (container) => holdsSupervisor(container, supervisor));
}

/** Calls `body` with a container that is only read or written and never started, and removes it. */
export async function withHelper<T>(docker: Dockerode, image: string, body: (container: Dockerode.Container) => Promise<T>): Promise<T> {
  const look = beginLook();
  try {
    const container = await docker.createContainer({
      Image: image,
      Entrypoint: [supervisorPath],
      Cmd: [],
      // Not the image's own: if that is a symbolic link, some engines have made folders and opened files on the node itself.
      WorkingDir: '/',
      NetworkDisabled: true,
      Labels: { ...look.labels, [labels.deadline]: String(Date.now() + lookingMs) },
      HostConfig: { NetworkMode: 'none' },
    });
    try {
      return await body(container);
    } finally {
      await container.remove({ force: true, v: true });
    }
  } finally {
    look.end(); // what could not be removed, the reaper removes
  }
}

/**
 * Whether a container that was never started has exactly these bytes as a plain file in a plain folder. A symbolic link does not
 * count: it may lead elsewhere once /proc and other file systems are mounted.
 */
async function holdsSupervisor(container: Dockerode.Container, { bytes }: SupervisorBinary): Promise<boolean> {
  try {
    if (!(await isFolder(container, posix.dirname(supervisorPath)))) return false;
    const archive = (await container.getArchive({ path: supervisorPath })) as Readable;
    const found = await onlyFile(archive, bytes.length);
    return found?.equals(bytes) === true;
  } catch (error) {
    if (isStatus(error, 404)) return false;
    throw error;
  }
}

async function isFolder(container: Dockerode.Container, path: string): Promise<boolean> {
  const answer = (await container.infoArchive({ path })) as unknown as IncomingMessage;
  answer.resume();
  const header = String(answer.headers['x-docker-container-path-stat'] ?? '');
  const { mode } = PathStat.parse(JSON.parse(Buffer.from(header, 'base64').toString()));
  return (mode & modeDirectory) !== 0;
}

/** Returns the first file of an archive; undefined if it is not a plain file or is longer than `most` bytes. Reads no further. */
export async function onlyFile(archive: Readable, most: number): Promise<Buffer | undefined> {
  const entries = tar.extract();
  archive.on('error', (error) => entries.destroy(error));
  archive.pipe(entries);
  try {
    for await (const entry of entries) {
      const { type, size } = entry.header;
      if (type !== 'file' || size > most) return undefined;
      const parts: Buffer[] = [];
      for await (const part of entry) parts.push(part as Buffer);
      return Buffer.concat(parts);
    }
    return undefined;
  } finally {
    archive.destroy();
    entries.destroy();
  }
}
