import type { DriverKind, SandboxNetwork } from '../../model/driver-kind.ts';
import type { HealthState } from '../../model/node.ts';

/** What is known of a node until it is probed again. Memory is bytes. */
export interface NodeFacts {
  name: string;
  /** Whether it has ever told what it is; of one that has not only labels are known. */
  probed: boolean;
  architecture: 'amd64' | 'arm64' | 'other';
  labels: Readonly<Record<string, string>>;
  /**
   * Where several machines stand behind it: the labels of each that is in use, the node's own laid over them; undefined until they are
   * known.
   */
  machines?: readonly Readonly<Record<string, string>>[];
  /** Those too that are not in use now. */
  machinesOfAll?: readonly Readonly<Record<string, string>>[];
  cpus: number;
  /** What sandboxes may book: the machine's less what is left free. */
  memory: number;
  /** The machine's. */
  total: number;
  /** Where several machines stand behind it: what the largest that is in use has for sandboxes, for none is larger. */
  largest?: { memory: number; cpus: number };
  /** The same of all machines, also those not in use now: a run that is larger need not wait for one to return. */
  largestOfAll?: { memory: number; cpus: number };
  /** Undefined until it was probed. */
  driver: DriverKind | undefined;
  /** Networks that its driver can give to a sandbox. */
  networks: readonly SandboxNetwork[];
  /** Whether machines with labels of their own stand behind it. */
  severalMachines: boolean;
  /** Waived: its configuration lets it serve without. */
  memoryLimits: 'enforced' | 'waived' | 'missing';
  /** Whether images can be brought to it. */
  canObtain: boolean;
}

/** A node with its books. */
export interface NodeView {
  readonly facts: NodeFacts;
  readonly health: HealthState;
  readonly why: string | undefined;
  readonly cordoned: 'no' | 'cordoned' | 'draining';
  /** Bytes. */
  readonly booked: number;
  readonly free: number;
  readonly memory: number;
  /** Runs on it. */
  readonly running: number;
  /** Idle sandboxes of all pools. */
  readonly idle: number;
  /** Which waiting run its memory is saved for. */
  readonly heldFor: string | undefined;
}

/** A node as the scheduler's own functions see it. */
export class ClusterNode implements NodeView {
  readonly slot: number;
  facts: NodeFacts;
  health: HealthState = 'probing';
  why: string | undefined;
  cordoned: 'no' | 'cordoned' | 'draining' = 'no';
  booked = 0;
  running = 0;
  idle = 0;
  heldFor: string | undefined;
  /** Free memory as it is in the order of the nodes that take runs; -1 when it is not among them. */
  open = -1;
  readonly pools = new Map<string, number>();
  images: ReadonlySet<string> = new Set();

  constructor(slot: number, facts: NodeFacts) {
    this.slot = slot;
    this.facts = facts;
  }

  get memory(): number {
    return this.facts.memory;
  }

  get free(): number {
    return this.facts.memory - this.booked;
  }

  get usable(): boolean {
    return this.health === 'ready' && this.cordoned === 'no';
  }

  /** Share of its memory that is booked, with `more` bytes. */
  load(more = 0): number {
    return this.facts.memory > 0 ? (this.booked + more) / this.facts.memory : Infinity;
  }
}
