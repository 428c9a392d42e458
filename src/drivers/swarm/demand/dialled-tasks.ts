import type { Clock } from '../../../base/clock.ts';
import type { SandboxSpec } from '../../contract.ts';
import type { Dialled } from '../dial/listener.ts';
import { SwarmSandbox } from '../sandbox.ts';
import type { SwarmSide } from './swarm-side.ts';

/** A task of a former shape is kept waiting so long, ms. */
const formerMs = 5_000;

/** A service's tasks that have dialled in: spare ones, those handed out, and those of a former shape. */
export class DialledTasks {
  readonly #swarm: Pick<SwarmSide, 'nameOf' | 'gone' | 'exitCode'>;
  readonly #clock: Clock;
  readonly #onRemoved: () => void;
  readonly #spares = new Set<Dialled>();
  readonly #out = new Set<SwarmSandbox>();
  readonly #stragglers = new Set<Dialled>();

  /** `onRemoved` is told of each sandbox that is handed out no more. */
  constructor(swarm: Pick<SwarmSide, 'nameOf' | 'gone' | 'exitCode'>, clock: Clock, onRemoved: () => void) {
    this.#swarm = swarm;
    this.#clock = clock;
    this.#onRemoved = onRemoved;
  }

  get spares(): ReadonlySet<Dialled> {
    return this.#spares;
  }

  get out(): ReadonlySet<SwarmSandbox> {
    return this.#out;
  }

  /** Ids of the tasks that serve, or could. */
  get connected(): Set<string> {
    return new Set([...this.#spares, ...Array.from(this.#out, ({ dialled }) => dialled)].map(({ task }) => task));
  }

  /** Hands out the oldest spare one; undefined if there is none. */
  spare(spec: SandboxSpec): SwarmSandbox | undefined {
    const [spare] = this.#spares;
    if (!spare) return undefined;
    this.#spares.delete(spare);
    return this.handOut(spare, spec);
  }

  handOut(dialled: Dialled, { name, labels }: SandboxSpec): SwarmSandbox {
    const onRemoved = () => {
      this.#out.delete(sandbox);
      this.#onRemoved();
    };
    const sandbox = new SwarmSandbox(dialled, { name, labels, node: this.#swarm.nameOf(dialled.node), swarm: this.#swarm, onRemoved });
    this.#out.add(sandbox);
    return sandbox;
  }

  /** Keeps it as a spare one. */
  keep(dialled: Dialled): void {
    this.#spares.add(dialled);
  }

  /** Its connection has ended; whether it was a spare one. */
  drop(dialled: Dialled): boolean {
    return this.#spares.delete(dialled);
  }

  /** A straggler that is sent away dials again at once; one that is kept waiting is ended by the swarm meanwhile. */
  hold(dialled: Dialled): void {
    this.#stragglers.add(dialled);
    const timer = this.#clock.after(formerMs, () => dialled.stream.destroy());
    void dialled.closed.then(() => {
      timer.cancel();
      this.#stragglers.delete(dialled);
    });
  }

  /** Sends the stragglers away. */
  sendAway(): void {
    for (const { stream } of this.#stragglers) stream.destroy();
  }

  /** A task that dials anew has lost its former connection, whether or not we have noticed. */
  forsake(task: string): void {
    for (const spare of this.#spares) if (spare.task === task) this.#giveUp(spare);
    for (const sandbox of this.#out) if (sandbox.id === task) sandbox.cameBack();
  }

  /** Gives up spare ones, by the name of their secret. */
  giveUp(which: (secret: string) => boolean): void {
    for (const spare of this.#spares) if (which(spare.secret)) this.#giveUp(spare);
  }

  /** From here on nobody gets it: that its stream is destroyed is heard of later. */
  #giveUp(spare: Dialled): void {
    this.#spares.delete(spare);
    spare.stream.destroy();
  }
}

/** How many sandboxes wait on each node, and how many serve, by the node's id. */
export function sandboxesByNode(pools: Iterable<Pick<DialledTasks, 'spares' | 'out'>>): Map<string, { idle: number; busy: number }> {
  const counts = new Map<string, { idle: number; busy: number }>();
  const count = (node: string, what: 'idle' | 'busy') => {
    const of = counts.get(node) ?? { idle: 0, busy: 0 };
    of[what] += 1;
    counts.set(node, of);
  };
  for (const { spares, out } of pools) {
    for (const { node } of spares) count(node, 'idle');
    for (const { dialled } of out) count(dialled.node, dialled.stream.spokenTo ? 'busy' : 'idle');
  }
  return counts;
}
