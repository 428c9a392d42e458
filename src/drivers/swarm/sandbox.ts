import type { Duplex } from 'node:stream';
import { within } from '../../base/deadline.ts';
import type { Sandbox, SandboxEnd } from '../contract.ts';
import type { Dialled } from './dial/listener.ts';

/** How long a supervisor may take to end after its stream has ended (ms). */
const endingMs = 2_000;

/** What the swarm reports about the end of tasks. */
export interface TaskEnds {
  /** Resolves when the swarm says that a task has ended, or its node has gone. @throws engine.*, swarm.* */
  gone(task: string): Promise<void>;
  /** Exit code of a task; undefined if the swarm does not report it in time. @throws engine.*, swarm.* */
  exitCode(task: string, signal?: AbortSignal): Promise<number | undefined>;
}

export interface SandboxOptions {
  name: string;
  /** Host name of its node. */
  node: string;
  labels: Readonly<Record<string, string>>;
  swarm: TaskEnds;
  /** Called when it is removed. */
  onRemoved: () => void;
}

/** A task that has dialled in and serves one run. */
export class SwarmSandbox implements Sandbox {
  readonly id: string;
  readonly name: string;
  readonly node: string;
  readonly stream: Duplex;
  readonly closed: Promise<void>;
  readonly labels: Readonly<Record<string, string>>;
  readonly dialled: Dialled;
  readonly #options: SandboxOptions;
  #goneBack!: () => void;
  readonly #back = new Promise<void>((resolve) => {
    this.#goneBack = resolve;
  });
  #removal: Promise<void> | undefined;

  constructor(dialled: Dialled, options: SandboxOptions) {
    this.id = dialled.task;
    this.name = options.name;
    this.node = options.node;
    this.labels = options.labels;
    this.stream = dialled.stream;
    this.dialled = dialled;
    this.closed = dialled.closed.then(() => undefined);
    this.#options = options;
  }

  /**
   * Asks the swarm for the task's exit code if the container ended the connection. A swarm does not report out of memory. If the machine
   * fell silent, the swarm does not know its state for a long time, so it is not asked.
   */
  async ended(signal?: AbortSignal): Promise<SandboxEnd> {
    const how = await this.dialled.closed;
    const asked = how === 'ended' || how === 'broken';
    const exitCode = asked ? await this.#options.swarm.exitCode(this.id, signal) : undefined;
    return { exitCode, oomKilled: false, silent: how === 'silent' };
  }

  /** Notes that its task has dialled in again. A task does so only before it has served a run, so nothing of a run is left in it. */
  dialledAgain(): void {
    this.#goneBack();
    this.stream.destroy();
  }

  remove(): Promise<void> {
    this.#removal ??= this.#remove().finally(() => this.#options.onRemoved());
    return this.#removal;
  }

  /**
   * Removes the sandbox. The supervisor ends with its stream, and everything in the container with it. If the other side closed the
   * connection, the node has confirmed this. If not, the swarm is asked.
   */
  async #remove(): Promise<void> {
    this.stream.end();
    const how = await within(endingMs, () => this.dialled.closed).catch(() => undefined); // late
    this.stream.destroy();
    if (how !== 'ended') await Promise.race([this.#back, this.#options.swarm.gone(this.dialled.task)]);
  }
}
