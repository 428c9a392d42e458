import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Duplex } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { type Profile, profileOf } from '../../src/model/profile.ts';
import { Step, type SandboxFile, type StepInput } from '../../src/model/request.ts';
import type { StepResult, Changes } from '../../src/model/result.ts';
import { Conversation } from '../../src/protocol/conversation.ts';
import { encodeFrame, hostFrame } from '../../src/protocol/frames.ts';
import { encodeOpen } from '../../src/protocol/requests.ts';
import { download } from '../../src/runs/attempt/download.ts';
import { executeStep } from '../../src/runs/attempt/execute.ts';
import { upload } from '../../src/runs/attempt/upload.ts';

export const sanitized = fileURLToPath(new URL('../../images/supervisor/build/sanitize/supervisor', import.meta.url));

/** The user of the steps: another user if we are root, else ourselves. */
export const user = process.getuid?.() === 0 ? { uid: 41966, gid: 51966 } : { uid: process.getuid?.() ?? 1, gid: process.getgid?.() ?? 1 };

/** A real supervisor over a pipe, without a container, and a folder for its sandbox. */
export class PipedSupervisor {
  readonly child: ChildProcessWithoutNullStreams;
  readonly stream: Duplex;
  readonly conversation: Conversation;
  readonly folder: string;
  readonly exit: Promise<number | null>;
  stderr = '';
  #step = 0;

  private constructor(folder: string, args: string[], [before, ...words]: readonly string[]) {
    this.folder = folder;
    const command = [...words, ...(before === undefined ? [] : [sanitized]), '--sandbox', folder, ...args];
    this.child = spawn(before ?? sanitized, command, {
      env: { PATH: '/usr/local/bin:/usr/bin:/bin', ASAN_OPTIONS: 'detect_leaks=0', KATAFLEET_SECRET: 'x' },
    });
    this.child.stderr.on('data', (chunk: Buffer) => (this.stderr += chunk.toString()));
    this.exit = once(this.child, 'close').then(([code]) => code as number | null);
    this.stream = new Pipes(this.child);
    this.conversation = new Conversation(this.stream);
  }

  static async start(...args: string[]): Promise<PipedSupervisor> {
    return new PipedSupervisor(await sandboxFolder(tmpdir()), args, []);
  }

  /** Starts it by another command, which executes it at its end. */
  static async under(before: readonly string[]): Promise<PipedSupervisor> {
    return new PipedSupervisor(await sandboxFolder('/var/tmp'), [], before);
  }

  /** Starts it with a size limit on its folder, bytes, and by another command, such as `unshare --mount`. */
  static async bounded(bytes: number, before: readonly string[], ...args: string[]): Promise<PipedSupervisor> {
    const folder = await sandboxFolder('/var/tmp'); // /tmp itself may have a size limit
    return new PipedSupervisor(folder, ['--tmpfs', `${folder}=${bytes}`, ...args], before);
  }

  /** Reads HELLO and sends OPEN. */
  async open(profile: Partial<Profile> = {}, lifetimeMs = 60_000): Promise<this> {
    await this.conversation.hello();
    return this.begin(profile, lifetimeMs);
  }

  async begin(profile: Partial<Profile> = {}, lifetimeMs = 60_000): Promise<this> {
    const { filesBack, fileBack, bytesBack } = profileOf(profile);
    await this.conversation.send(encodeOpen({ ...user, lifetimeMs, filesBack, fileBack, bytesBack }));
    return this;
  }

  files(...files: SandboxFile[]): Promise<void> {
    return upload(this.conversation, { remove: [], files, folders: [] });
  }

  run(argv: string[], step: Omit<StepInput, 'argv'> = {}, profile: Partial<Profile> = {}, signal?: AbortSignal): Promise<StepResult> {
    this.#step += 1;
    return executeStep(this.conversation, this.#step, Step.parse({ argv, ...step }), profileOf(profile), { collect: false, signal });
  }

  async collect(profile: Partial<Profile> = {}): Promise<Changes> {
    await this.conversation.send(encodeFrame(hostFrame.collect));
    return download(this.conversation, profileOf(profile));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.stream.destroy();
    this.child.kill('SIGKILL');
    await this.exit;
    await rm(this.folder, { recursive: true, force: true });
  }
}

async function sandboxFolder(base: string): Promise<string> {
  const folder = await mkdtemp(join(base, 'katafleet-supervisor-'));
  await chmod(folder, 0o755);
  return folder;
}

export const file = (path: string, content: string | Uint8Array, mtimeNs = 1_700_000_000_123_456_789n, mode = 0o644): SandboxFile => ({
  path,
  mode,
  mtimeNs,
  content: typeof content === 'string' ? Buffer.from(content) : content,
});

/** A process's sets of capabilities, by the kernel's names. */
export async function capabilities(pid: number | undefined): Promise<Map<string, bigint>> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return new Map(Array.from(status.matchAll(/^(Cap\w+):\t(\w+)$/gm), ([, name = '', hex]) => [name, BigInt(`0x${hex}`)]));
}

/** A child's input and output as one stream. A closed input does not end the output: the child's last output may still be unread. */
class Pipes extends Duplex {
  readonly #child: ChildProcessWithoutNullStreams;

  constructor(child: ChildProcessWithoutNullStreams) {
    super();
    this.#child = child;
    child.stdin.on('error', () => undefined); // its output shows what it read last
    child.stdout.on('data', (chunk: Buffer) => {
      if (!this.push(chunk)) child.stdout.pause();
    });
    child.stdout.on('end', () => this.push(null));
  }

  override _read(): void {
    this.#child.stdout.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    if (this.#child.stdin.writable) this.#child.stdin.write(chunk, () => done());
    else done();
  }

  override _final(done: () => void): void {
    if (this.#child.stdin.writable) this.#child.stdin.end(done);
    else done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#child.stdin.destroy();
    this.#child.stdout.destroy();
    done(error);
  }
}
