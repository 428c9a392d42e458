import { backoffMs } from '../../base/backoff.ts';
import { steadyClock } from '../../base/clock.ts';
import { within } from '../../base/deadline.ts';
import { KatafleetError } from '../../model/errors.ts';
import type { Sandbox, SandboxEnd, SandboxSpec } from '../contract.ts';
import type { SshStream } from '../transport/stream.ts';
import { dockerError } from './errors.ts';
import { containerName, hasPidsLimit, type NodeAbilities, runWords } from './flags.ts';
import type { RemoteDocker } from './remote.ts';

/** What a sandbox needs of the driver that makes it. */
export interface SshNode extends NodeAbilities {
  remote: RemoteDocker;
  /** The node's own name. */
  name: string;
}

/** From `docker run` to the supervisor's first word; a node that is that slow is not used, ms. */
const startMs = 60_000;
/** A container that is not running after so long will not be any more, ms. */
const patienceMs = 10_000;
/** How long a `docker run` whose input has ended may take to end, ms. */
const endMs = 5_000;
/** How often an engine is asked whether a container has ended, ms: soon at first, then less often. */
const looks = { firstMs: 20, factor: 1.5, mostMs: 500 };

async function firstWord(remote: RemoteDocker, stream: SshStream, signal?: AbortSignal): Promise<void> {
  let failure: Error | undefined;
  stream.on('error', (error: Error) => {
    failure ??= error;
  });
  let readable!: () => void;
  const said = new Promise<void>((resolve) => stream.once('readable', (readable = resolve)));
  const late = () => new KatafleetError('engine.timeout', `${remote.transport.at} started no sandbox within ${startMs} ms`);
  try {
    await within(startMs, () => Promise.race([said, stream.ended]), { signals: [signal], late });
  } finally {
    stream.off('readable', readable);
  }
  if (stream.readableLength > 0) return;
  const { code = -1, stderr } = await stream.ended;
  if (failure) throw failure;
  throw dockerError({ code, stdout: '', stderr }, remote.transport.at, 'start a sandbox');
}

/** A failed start leaves its container, and one that was called off may still be made: then it ends as its input does. */
async function clear(remote: RemoteDocker, stream: SshStream, name: string, why: unknown): Promise<void> {
  stream.end();
  await within(endMs, () => stream.ended, { clock: steadyClock }).catch(() => undefined); // it is destroyed in any case
  stream.destroy();
  const made =
    !(why instanceof KatafleetError) ||
    !['gate.refused', 'engine.conflict', 'docker.missing', 'ssh.host_key', 'ssh.refused'].includes(why.code);
  if (made) await remote.remove(name).catch(() => undefined); // the first error is the one to tell; the reaper sees to the rest
}

/** A container at the far end of ssh. It is being made from the constructor on, and usable once {@link started} has resolved. */
export class SshSandbox implements Sandbox {
  /** The container's name: known before the engine has answered, and as good as its id. */
  readonly id: string;
  readonly name: string;
  readonly node: string;
  readonly stream: SshStream;
  readonly closed: Promise<void>;
  readonly processes?: number;
  readonly #remote: RemoteDocker;
  readonly #begun = performance.now();
  #greeted = false;
  #removal: Promise<void> | undefined;

  constructor(node: SshNode, spec: SandboxSpec) {
    this.id = containerName(spec.name);
    this.name = spec.name;
    this.node = node.name;
    this.#remote = node.remote;
    this.stream = node.remote.transport.open(runWords(spec, node));
    this.closed = this.stream.carrierClosed;
    // They are counted by its uid, which no other sandbox of the node has.
    if (!hasPidsLimit(node.release)) this.processes = spec.limits.pids;
  }

  /** Resolves when its supervisor has said its first word. @throws sandbox.failed, image.unknown, gate.refused, engine.* */
  async started(signal?: AbortSignal): Promise<void> {
    try {
      await firstWord(this.#remote, this.stream, signal);
      this.#greeted = true;
    } catch (error) {
      await clear(this.#remote, this.stream, this.id, error);
      throw error;
    }
  }

  /**
   * The engine says that the container is not running. Old clients go on until their input ends, and one whose engine went
   * away under it may never tell; what the supervisor said last is still on its way.
   */
  notRunning(): void {
    if (!this.#greeted && performance.now() < this.#begun + patienceMs) return; // it may be about to
    this.stream.end();
    setTimeout(() => this.stream.destroy(), endMs).unref();
  }

  async ended(signal?: AbortSignal): Promise<SandboxEnd> {
    for (let looked = 1; ; looked += 1) {
      const [container] = (await this.#remote.inspect([this.id], signal)).containers;
      if (!container) return { exitCode: undefined, oomKilled: false };
      const { running, exitCode, oomKilled } = container;
      // 0 is what containers show that an engine finds when it starts again, and what a supervisor gives that lost its
      // stream; -1 that never started. None of them tells how a run ended.
      if (!running) return { exitCode: exitCode > 0 ? exitCode : undefined, oomKilled };
      await new Promise((resolve) => setTimeout(resolve, backoffMs(looked, looks)));
      signal?.throwIfAborted();
    }
  }

  async outOfMemory(signal: AbortSignal): Promise<boolean> {
    return (await this.ended(signal)).oomKilled;
  }

  remove(): Promise<void> {
    this.stream.destroy();
    this.#removal ??= this.#remote.remove(this.id);
    return this.#removal;
  }
}
