import { backoffMs } from '../../base/backoff.ts';
import { steadyClock } from '../../base/clock.ts';
import { within } from '../../base/deadline.ts';
import { KatafleetError } from '../../model/errors.ts';
import type { Sandbox, SandboxEnd, SandboxSpec } from '../contract.ts';
import type { ProcessStream } from '../transport/process-stream.ts';
import { containerName } from '../docker/container-name.ts';
import { dockerError } from './errors.ts';
import { hasPidsLimit, type NodeAbilities, runWords } from './flags.ts';
import type { RemoteDocker } from './remote.ts';

/** What a sandbox needs of the driver that makes it. */
export interface SshNode extends NodeAbilities {
  remote: RemoteDocker;
  /** The node's own name. */
  name: string;
}

/** Longest time from `docker run` to the supervisor's greeting, ms. */
const startMs = 60_000;
/** A container that is not running after this time will never run, ms. */
const patienceMs = 10_000;
/** Longest time from the end of a `docker run`'s input to its exit, ms. */
const endMs = 5_000;
/** Pauses between checks whether a container has ended, ms: short at first, then longer. */
const looks = { firstMs: 20, factor: 1.5, mostMs: 500 };

async function firstWord(remote: RemoteDocker, stream: ProcessStream, signal?: AbortSignal): Promise<void> {
  let failure: Error | undefined;
  stream.on('error', (error: Error) => {
    failure ??= error;
  });
  let readable!: () => void;
  const said = new Promise<void>((resolve) => stream.once('readable', (readable = resolve)));
  const late = () => new KatafleetError('engine.timeout', `${remote.transport.at} did not start a sandbox within ${startMs} ms`);
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

/** Removes the container of a start that failed. A cancelled start may still create one, which ends when its input ends. */
async function clear(remote: RemoteDocker, stream: ProcessStream, name: string, why: unknown): Promise<void> {
  stream.end();
  await within(endMs, () => stream.ended, { clock: steadyClock }).catch(() => undefined); // the stream is destroyed in any case
  stream.destroy();
  const made =
    !(why instanceof KatafleetError) ||
    !['gate.refused', 'engine.conflict', 'docker.missing', 'ssh.host_key', 'ssh.refused'].includes(why.code);
  if (made) await remote.remove(name).catch(() => undefined); // the caller gets the first error; the reaper removes what is left
}

/** A container on a node over ssh. The constructor starts to make it; it is ready when {@link started} resolves. */
export class SshSandbox implements Sandbox {
  /** The container's name, which is known before the engine answers. Docker takes it in place of an id. */
  readonly id: string;
  readonly name: string;
  readonly node: string;
  readonly stream: ProcessStream;
  readonly closed: Promise<void>;
  readonly processes?: number;
  readonly #remote: RemoteDocker;
  readonly #begun = performance.now();
  #greeted = false;
  #removal: Promise<void> | undefined;

  constructor(node: SshNode, spec: SandboxSpec) {
    this.id = containerName(spec.name, spec.limits.memory);
    this.name = spec.name;
    this.node = node.name;
    this.#remote = node.remote;
    this.stream = node.remote.transport.open(runWords(spec, node));
    this.closed = this.stream.carrierClosed;
    // The kernel counts processes by uid, and each sandbox of the node has its own.
    if (!hasPidsLimit(node.release)) this.processes = spec.limits.pids;
  }

  /** Resolves when its supervisor has greeted. @throws sandbox.failed, image.unknown, gate.refused, engine.* */
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
   * Ends the stream, because the engine says that the container is not running. Old clients run until their input ends, and a client
   * whose engine stopped may never exit. The stream is destroyed later: the supervisor's last bytes may still arrive.
   */
  notRunning(): void {
    if (!this.#greeted && performance.now() < this.#begun + patienceMs) return; // it may be starting
    this.stream.end();
    setTimeout(() => this.stream.destroy(), endMs).unref();
  }

  async ended(signal?: AbortSignal): Promise<SandboxEnd> {
    for (let looked = 1; ; looked += 1) {
      const [container] = (await this.#remote.inspect([this.id], signal)).containers;
      if (!container) return { exitCode: undefined, oomKilled: false };
      const { running, exitCode, oomKilled } = container;
      // None of these says how a run ended: an engine that restarts shows 0 for the containers that it finds, a supervisor that lost
      // its stream exits with 0, and a container that never started shows -1.
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
