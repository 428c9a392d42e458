import { Readable } from 'node:stream';
import { posix } from 'node:path';
import { extract } from 'tar-stream';
import { MiB, minute } from '../../base/units.ts';
import { KatafleetError } from '../../model/errors.ts';
import { labels } from '../../model/labels.ts';
import type { CommandOptions, CommandResult, SshTransport } from '../transport/transport.ts';
import { dockerError } from './errors.ts';
import { type ListedImage, parseImages } from './parse/images.ts';
import { type InfoAnswer, parseInfo } from './parse/info.ts';
import { type Inspected, parseInspect } from './parse/inspect.ts';
import { parseIds } from './parse/ps.ts';
import { parseVersion, type VersionAnswer } from './parse/version.ts';

/** The gate's greeting. */
export interface Gate {
  /** The supervisor that is installed on the node. */
  supervisor?: { sha256: string; path: string };
  /** Whether it lets images be loaded; undefined for older gates, which do not say so. */
  loads?: boolean;
}

/** Most names of one `docker inspect`; the gate admits no more. */
const inspectedAtOnce = 200;
/** Longest time for loading or building an image, ms. */
const longMs = 30 * minute;
/** Longest time for removing a container, ms: the engine first kills it and waits for its end. */
const removalMs = 60_000;
/** How long an engine may still list a container whose removal it has confirmed, ms. */
const goneMs = 10_000;
/** Pause before a failed removal is tried again, ms. */
const againMs = 500;
const lookMs = 100;
/** Most bytes that are read of the folder in which the supervisor may lie. */
const mostLookedAt = 16 * MiB;

/**
 * Whether `docker inspect` failed only because some names are missing. It asks name by name: if the daemon stops in between, the
 * remaining names must not look as if they were missing. 1.6 ends such a line without a newline.
 */
function onlyMissing({ code, stderr }: Pick<CommandResult, 'code' | 'stderr'>): boolean {
  const lines = stderr.split('\n').map((line) => line.trim());
  const missing = lines.filter((line) =>
    /^(Error: |Error response from daemon: )?No such (image or container|image|container|object): \S+$/i.test(line),
  );
  const other = lines.filter((line) => !missing.includes(line));
  return code === 1 && missing.length > 0 && !other.some((line) => /error|daemon|connect|permission denied|dial|EOF/i.test(line));
}

/** The docker command of a node, over ssh. All words arrive unchanged. Every method throws dockerError's error for a failed command. */
export class RemoteDocker {
  readonly transport: SshTransport;

  constructor(transport: SshTransport) {
    this.transport = transport;
  }

  /** Greets the gate; undefined if the node has none. */
  async hello(): Promise<Gate | undefined> {
    const answer = await this.transport.run(['katafleet-gate', 'hello']);
    if (answer.code === 126) throw this.#failure(answer, 'greet its gate');
    const [first = '', ...lines] = answer.stdout.split('\n');
    if (answer.code !== 0 || !/^katafleet-gate\b/.test(first)) return undefined;
    if (first.trim() !== 'katafleet-gate 1') {
      throw new KatafleetError(
        'gate.refused',
        `the gate of ${this.transport.at} has another version: expected "katafleet-gate 1", got ${JSON.stringify(first)}`,
        {
          hint: 'run scripts/node-setup of this katafleet on the node again',
        },
      );
    }
    const installed = lines
      .map((line) => /^supervisor ([0-9a-f]{64}) (\/[A-Za-z0-9_./-]+)$/.exec(line.trim()))
      .find((match) => match !== null);
    const [, sha256, path] = installed ?? [];
    const load = lines.map((line) => /^load (yes|no)$/.exec(line.trim())?.[1]).find((word) => word !== undefined);
    return {
      ...(sha256 !== undefined && path !== undefined ? { supervisor: { sha256, path } } : {}),
      ...(load === undefined ? {} : { loads: load === 'yes' }),
    };
  }

  async version(signal?: AbortSignal): Promise<VersionAnswer> {
    return parseVersion((await this.#docker(['version'], 'say its version', signal ? { signal } : {})).stdout);
  }

  async info(signal?: AbortSignal): Promise<InfoAnswer> {
    const { stdout, stderr } = await this.#docker(['info'], 'say what it is', signal ? { signal } : {});
    return parseInfo(stdout, stderr);
  }

  async images(): Promise<ListedImage[]> {
    return parseImages((await this.#docker(['images', '--no-trunc'], 'list images')).stdout);
  }

  /** Ids of all containers, those of others included. */
  async containerIds(): Promise<string[]> {
    return parseIds((await this.#docker(['ps', '-a', '-q', '--no-trunc'], 'list containers')).stdout);
  }

  /** Inspects containers and images by name or id; leaves out what is missing. */
  async inspect(names: readonly string[], signal?: AbortSignal): Promise<Inspected> {
    const found: Inspected = { containers: [], images: [] };
    for (let at = 0; at < names.length; at += inspectedAtOnce) {
      const words = ['docker', 'inspect', ...names.slice(at, at + inspectedAtOnce)];
      const answer = await this.transport.run(words, signal ? { signal } : {});
      if (answer.code !== 0 && !onlyMissing(answer)) throw this.#failure(answer, 'inspect');
      const part = parseInspect(answer.stdout);
      found.containers.push(...part.containers);
      found.images.push(...part.images);
    }
    return found;
  }

  /** Kills and removes a container; resolves when the engine no longer lists it. */
  async remove(name: string): Promise<void> {
    const until = performance.now() + goneMs;
    for (;;) {
      const answer = await this.transport.run(['docker', 'rm', '-f', '-v', name], { timeoutMs: removalMs });
      if (answer.code === 0 || /no such (container|id)/i.test(answer.stderr)) break;
      const failure = this.#failure(answer, 'remove a sandbox');
      // Another removal may be under way, and 1.6 fails when the container ends at the same time. So this waits for the container
      // to disappear; if it stays, the removal is tried again.
      if (failure.code !== 'engine.failed') throw failure;
      if (await this.#goes(name, againMs)) return;
      if (performance.now() > until) throw failure;
    }
    if (!(await this.#goes(name, goneMs)))
      throw new KatafleetError('engine.failed', `${this.transport.at} confirmed the removal of the sandbox ${name}, but still lists it`);
  }

  async #goes(name: string, withinMs: number): Promise<boolean> {
    const until = performance.now() + withinMs;
    for (;;) {
      const { containers } = await this.inspect([name]);
      if (containers.length === 0) return true;
      if (performance.now() > until) return false;
      await new Promise((resolve) => setTimeout(resolve, lookMs));
    }
  }

  async load(archive: Readable): Promise<void> {
    await this.#docker(['load'], 'load an image', { input: archive, timeoutMs: longMs, long: true });
  }

  /** Builds an image from a tar with a Dockerfile. */
  async build(tag: string, context: Buffer): Promise<void> {
    // No cache: another client could load an image that the cache would take for a layer of this build.
    await this.#docker(['build', '-q', '--no-cache', '--force-rm', '-t', tag, '-'], 'build an image', {
      input: context,
      timeoutMs: longMs,
      long: true,
    });
  }

  /**
   * Reads a small plain file of an image: empty if it is missing, undefined if it is not a plain file. For releases since 1.8. Makes a
   * container that is never started.
   */
  async fileOf(image: string, path: string): Promise<string | undefined> {
    const id = await this.#helper(image);
    try {
      const answer = await this.transport.run(['docker', 'cp', `${id}:${path}`, '-']);
      if (answer.code !== 0) {
        if (/no such|not found|could not find/i.test(answer.stderr)) return '';
        throw this.#failure(answer, 'look into an image');
      }
      const unpacked = Readable.from([Buffer.from(answer.stdout)]).pipe(extract());
      for await (const entry of unpacked) {
        if (entry.header.type !== 'file') return undefined;
        const parts: Buffer[] = [];
        for await (const part of entry) parts.push(part as Buffer);
        return Buffer.concat(parts).toString();
      }
      return undefined;
    } finally {
      await this.remove(id);
    }
  }

  /**
   * Whether an image has exactly these bytes as a plain file at a path, in a folder of the root that is not a link: a link can lead
   * elsewhere in a running container. For releases since 1.8.
   */
  async holds(image: string, path: string, bytes: Buffer): Promise<boolean> {
    const id = await this.#helper(image);
    const folder = posix.dirname(path);
    const stream = this.transport.open(['docker', 'cp', `${id}:${folder}`, '-'], (answer) => {
      const missing = answer.code === 0 || /no such|not found|could not find/i.test(answer.stderr);
      return missing ? undefined : this.#failure({ code: answer.code ?? -1, stdout: '', stderr: answer.stderr }, 'look into an image');
    });
    const [name, wanted] = [posix.basename(folder), `${posix.basename(folder)}/${posix.basename(path)}`];
    const entries = extract();
    stream.on('error', (error: Error) => entries.destroy(error));
    const late = setTimeout(() => {
      stream.destroy(new KatafleetError('engine.timeout', `docker cp did not end on ${this.transport.at} within ${removalMs} ms`));
    }, removalMs);
    try {
      let read = 0;
      let inFolder = false;
      stream.end();
      stream.pipe(entries);
      for await (const entry of entries) {
        const { type, size } = entry.header;
        const own = entry.header.name.replace(/^\.?\//, '').replace(/\/$/, '');
        read += 512 + size;
        if (read > mostLookedAt) return false;
        if (own === name) inFolder = type === 'directory';
        if (own !== wanted) {
          entry.resume();
          continue;
        }
        if (!inFolder || type !== 'file' || size !== bytes.length) return false;
        const parts: Buffer[] = [];
        for await (const part of entry) parts.push(part as Buffer);
        return Buffer.concat(parts).equals(bytes);
      }
      return false;
    } finally {
      clearTimeout(late);
      stream.destroy();
      entries.destroy();
      await this.remove(id);
    }
  }

  /** Creates a container to look into, which is never started; returns its id. */
  async #helper(image: string): Promise<string> {
    const owned = ['-l', `${labels.role}=adapting`, '-l', `${labels.deadline}=${Date.now() + longMs}`];
    const words = ['create', '--net', 'none', '-w', '/', ...owned, '--entrypoint', '/none', image];
    const [id = ''] = parseIds((await this.#docker(words, 'look into an image')).stdout);
    return id;
  }

  async #docker(words: readonly string[], doing: string, options: CommandOptions = {}): Promise<CommandResult> {
    const answer = await this.transport.run(['docker', ...words], options);
    if (answer.code !== 0) throw this.#failure(answer, doing);
    return answer;
  }

  #failure(answer: CommandResult, doing: string): KatafleetError {
    const error = dockerError(answer, this.transport.at, doing);
    // Groups are read at login: an open connection would never see that the user has joined one.
    if (error.code === 'engine.permission') this.transport.renew();
    return error;
  }
}
