import type { Clock } from '../../../base/clock.ts';
import type { SandboxSpec } from '../../contract.ts';
import type { Dialled } from '../dial/listener.ts';
import { SwarmSandbox } from '../sandbox.ts';
import type { SwarmSide } from './swarm-side.ts';

/** How long a task of a former shape is kept connected (ms). */
const formerMs = 5_000;

/** A service's tasks that have dialled in: spare ones, those handed out, and those of a former shape. */
export class DialledTasks {
  readonly #swarm: Pick<SwarmSide, 'nameOf' | 'gone' | 'exitCode'>;
  readonly #clock: Clock;
  readonly #onRemoved: () => void;
  readonly #spares = new Set<Dialled>();
  readonly #handedOut = new Set<SwarmSandbox>();
  readonly #stragglers = new Set<Dialled>();

  /** Calls `onRemoved` when a sandbox that was handed out has been removed. */
  constructor(swarm: Pick<SwarmSide, 'nameOf' | 'gone' | 'exitCode'>, clock: Clock, onRemoved: () => void) {
    this.#swarm = swarm;
    this.#clock = clock;
    this.#onRemoved = onRemoved;
  }

  get spares(): ReadonlySet<Dialled> {
    return this.#spares;
  }

  get handedOut(): ReadonlySet<SwarmSandbox> {
    return this.#handedOut;
  }

  /** Ids of the tasks that serve, or could. */
  get connected(): Set<string> {
    return new Set([...this.#spares, ...Array.from(this.#handedOut, ({ dialled }) => dialled)].map(({ task }) => task));
  }

  /** Hands out the oldest spare task; undefined if there is none. */
  spare(spec: SandboxSpec): SwarmSandbox | undefined {
    const [spare] = this.#spares;
    if (!spare) return undefined;
    this.#spares.delete(spare);
    return this.handOut(spare, spec);
  }

  handOut(dialled: Dialled, { name, labels }: SandboxSpec): SwarmSandbox {
    const onRemoved = () => {
      this.#handedOut.delete(sandbox);
      this.#onRemoved();
    };
    const sandbox = new SwarmSandbox(dialled, { name, labels, node: this.#swarm.nameOf(dialled.node), swarm: this.#swarm, onRemoved });
    this.#handedOut.add(sandbox);
    return sandbox;
  }

  /** Keeps a task as a spare one. */
  keep(dialled: Dialled): void {
    this.#spares.add(dialled);
  }

  /** Drops a task whose connection has ended. Returns whether it was a spare one. */
  drop(dialled: Dialled): boolean {
    return this.#spares.delete(dialled);
  }

  /**
   * Keeps a task of a former shape connected until the swarm has ended it: if its connection were closed at once, it would dial again
   * at once.
   */
  hold(dialled: Dialled): void {
    this.#stragglers.add(dialled);
    const timer = this.#clock.after(formerMs, () => dialled.stream.destroy());
    void dialled.closed.then(() => {
      timer.cancel();
      this.#stragglers.delete(dialled);
    });
  }

  /** Closes the connections of tasks of a former shape. */
  sendAway(): void {
    for (const { stream } of this.#stragglers) stream.destroy();
  }

  /** A task that dials again has lost its former connection, even if that has not been noticed here yet. */
  forsake(task: string): void {
    for (const spare of this.#spares) if (spare.task === task) this.#giveUp(spare);
    for (const sandbox of this.#handedOut) if (sandbox.id === task) sandbox.dialledAgain();
  }

  /** Gives up the spare tasks whose secret's name passes the test. */
  giveUp(which: (secret: string) => boolean): void {
    for (const spare of this.#spares) if (which(spare.secret)) this.#giveUp(spare);
  }

  /** Removes it from the spares at once: the event that its stream is closed comes later. */
  #giveUp(spare: Dialled): void {
    this.#spares.delete(spare);
    spare.stream.destroy();
  }
}

/** Counts the idle and the busy sandboxes of each node, by the node's id. */
export function sandboxesByNode(pools: Iterable<Pick<DialledTasks, 'spares' | 'handedOut'>>): Map<string, { idle: number; busy: number }> {
  const counts = new Map<string, { idle: number; busy: number }>();
  const count = (node: string, what: 'idle' | 'busy') => {
    const of = counts.get(node) ?? { idle: 0, busy: 0 };
    of[what] += 1;
    counts.set(node, of);
  };
  for (const { spares, handedOut } of pools) {
    for (const { node } of spares) count(node, 'idle');
    for (const { dialled } of handedOut) count(dialled.node, dialled.stream.spokenTo ? 'busy' : 'idle');
  }
  return counts;
}
