import { listed } from '../base/listed.ts';
import { KatafleetError, messageOf } from '../model/errors.ts';
import type { Cluster } from '../scheduler/place/cluster.ts';
import { type NodeChange, nodeChanges } from './changes.ts';
import { Leavers } from './leavers.ts';
import type { Node } from './node/node.ts';
import type { NodeSettings } from './node/settings.ts';

/** A user's decision to keep new runs off a node. */
export interface CordonDecision {
  drain: boolean;
  /** The id of the engine that was there by then; undefined if it was not known. */
  machine: string | undefined;
}

export interface MembersOptions {
  cluster: Cluster;
  /** Connects a node. @throws endpoint.invalid */
  make: (settings: NodeSettings) => Node;
  onJoined: (name: string) => void;
  onLeft: (name: string) => void;
  /** Called when a node takes other runs than before; `more` if it may take more. */
  onChanged: (more: boolean) => void;
  onEvent?: ((node: string, kind: string, detail: string) => void) | undefined;
  /** Called when it turns out which machine a decision is about; with undefined if another machine has the name, so that none holds. */
  onDecision?: ((node: string, decision: CordonDecision | undefined) => void) | undefined;
  onTrouble?: ((message: string) => void) | undefined;
}

/** The nodes of a fleet, which change with its configuration, and those that a user has cordoned. */
export class Members {
  readonly #options: MembersOptions;
  readonly #byName = new Map<string, Node>();
  /** In the order of the configuration. */
  all: readonly Node[] = [];
  readonly #cordoned = new Map<string, 'cordoned' | 'draining'>();
  readonly #decisions = new Map<string, CordonDecision>();
  readonly #leavers = new Leavers({
    isQuiet: (name) => this.#isQuiet(name),
    end: (name) => this.#remove(name),
    follow: (settings) => this.#follow(settings),
  });
  /** The configured settings, in their order. */
  #wanted: readonly NodeSettings[];
  #closed = false;

  /** Connects to no node yet, see {@link add}. */
  constructor(nodes: readonly NodeSettings[], options: MembersOptions) {
    this.#options = options;
    this.#wanted = nodes;
  }

  /** Makes the configured nodes. @throws endpoint.invalid */
  add(): void {
    this.all = this.#wanted.map((settings) => this.#made(settings));
  }

  has(name: string): boolean {
    return this.#byName.has(name);
  }

  /** @throws node.unknown */
  node(name: string): Node {
    const node = this.#byName.get(name);
    if (node) return node;
    const names = this.all.map(({ settings }) => settings.name);
    throw new KatafleetError('node.unknown', `no node "${name}"; there are: ${listed(names, 20)}`);
  }

  /** Whether a node takes nothing new, and how. */
  cordonOf(name: string): 'cordoned' | 'draining' | undefined {
    return this.#cordoned.get(name);
  }

  /**
   * Takes other settings of nodes, and other nodes, while it serves. A node that is no longer wanted takes nothing new, and leaves when
   * its runs have ended; so does one that must be connected anew, which comes back then. Returns what changes.
   */
  reconfigure(nodes: readonly NodeSettings[]): NodeChange[] {
    const changes = nodeChanges(this.#wanted, nodes);
    this.#wanted = nodes;
    for (const change of changes) {
      if (change.kind === 'add') this.#follow(change.settings);
      else if (change.kind === 'alter') this.#alter(change.settings);
      else if (change.kind === 'renew') this.#leave(change.settings.name, change.settings);
      else {
        this.#decisions.delete(change.name);
        this.#leave(change.name);
      }
    }
    return changes;
  }

  #made(settings: NodeSettings): Node {
    const node = this.#options.make(settings);
    const { name, cordoned } = settings;
    this.#byName.set(name, node);
    if (cordoned) this.#cordoned.set(name, 'cordoned');
    this.#options.onJoined(name);
    const decision = this.#decisions.get(name);
    if (decision) this.#keepOff(node, decision.drain);
    return node;
  }

  #leave(name: string, next?: NodeSettings): void {
    const node = this.#byName.get(name);
    if (!node) return; // it could not be added
    this.#keepOff(node, true);
    this.#leavers.add(name, next);
    this.#options.onChanged(false);
  }

  /** Adds a node, or replaces the one of that name as soon as it has left. */
  #follow(settings: NodeSettings): void {
    const { name } = settings;
    if (this.#closed) return;
    if (this.#byName.has(name)) {
      this.#leave(name, settings);
      return;
    }
    let node: Node;
    try {
      node = this.#made(settings);
    } catch (error) {
      this.#options.onTrouble?.(`${name}: can't be added: ${messageOf(error)}`);
      return;
    }
    const order = new Map(this.#wanted.map((wanted, index) => [wanted.name, index]));
    const place = ({ settings: { name: of } }: Node) => order.get(of) ?? this.#wanted.length;
    this.all = [...this.all, node].sort((a, b) => place(a) - place(b));
    void node.check();
  }

  #alter(settings: NodeSettings): void {
    const { name, cordoned } = settings;
    if (this.#leavers.has(name) || !this.#byName.has(name)) {
      this.#follow(settings); // it is connected anew, with these
      return;
    }
    const node = this.node(name);
    const before = node.settings.cordoned;
    node.alter(settings);
    if (cordoned && !before) this.#keepOff(node, false);
    if (!cordoned && before && !this.#decisions.has(name)) this.#letIn(node);
    this.#options.onChanged(true);
  }

  #isQuiet(name: string): boolean {
    return this.node(name).sandboxes.busy === 0 && (this.#options.cluster.node(name)?.running ?? 0) === 0;
  }

  async #remove(name: string): Promise<void> {
    const node = this.node(name);
    try {
      await node.close();
    } catch (error) {
      this.#options.onTrouble?.(`${name}: left, but not in order: ${messageOf(error)}`);
    }
    this.all = this.all.filter((other) => other !== node);
    this.#byName.delete(name);
    this.#cordoned.delete(name);
    this.#options.cluster.removeNode(name);
    this.#options.onLeft(name);
    this.#options.onEvent?.(name, 'left', 'the configuration has it no more, or has it otherwise');
  }

  /** @throws node.unknown for a node that is about to leave, too */
  #staying(name: string): Node {
    const node = this.node(name);
    if (!this.#leavers.has(name)) return node;
    throw new KatafleetError('node.unknown', `${name} is leaving: the configuration has it no more, or otherwise`);
  }

  /** Keeps new runs off a node. `machine`: the engine that the decision was about, if it was made before. @throws node.unknown */
  cordon(name: string, drain: boolean, machine?: string): void {
    const node = this.#staying(name);
    this.#decisions.set(name, { drain, machine: machine ?? node.fingerprint?.engineId });
    this.#keepOff(node, drain);
    this.#options.onEvent?.(name, drain ? 'drain' : 'cordon', '');
    this.#options.onChanged(false);
  }

  /** @throws node.unknown */
  uncordon(name: string): void {
    const node = this.#staying(name);
    this.#decisions.delete(name);
    this.#letIn(node);
    this.#options.onEvent?.(name, 'uncordon', '');
    this.#options.onChanged(true);
  }

  /** Notes that a node is ready. If it is another machine than the one that was cordoned, the decision no longer holds. */
  ready({ settings: { name }, fingerprint }: Node): void {
    const decision = this.#decisions.get(name);
    const machine = fingerprint?.engineId;
    if (!decision || machine === undefined) return;
    if (decision.machine === undefined) {
      decision.machine = machine;
      this.#options.onDecision?.(name, decision);
    }
    if (decision.machine === machine || this.#leavers.has(name)) return;
    this.#options.onTrouble?.(`${name}: it is another machine than the one that was cordoned, so it is used`);
    this.uncordon(name);
    this.#options.onDecision?.(name, undefined);
  }

  #keepOff({ settings: { name }, sandboxes }: Node, drain: boolean): void {
    const kind = drain ? 'draining' : 'cordoned';
    this.#cordoned.set(name, kind);
    this.#options.cluster.setCordoned(name, true, kind);
    sandboxes.empty(drain);
  }

  #letIn({ settings: { name }, sandboxes }: Node): void {
    this.#cordoned.delete(name);
    this.#options.cluster.setCordoned(name, false);
    sandboxes.empty(false);
  }

  /** Lets nobody leave or join any more, and closes all nodes. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#leavers.close();
    await Promise.all(this.all.map((node) => node.close()));
  }
}
