import type { DriverKind, SandboxNetwork } from '../../model/driver-kind.ts';
import type { HealthState } from '../../model/node.ts';

/** The facts of a node, until its next probe. Memory is in bytes. */
export interface NodeFacts {
  name: string;
  /** Whether it has ever been probed; before that only its labels are known. */
  probed: boolean;
  architecture: 'amd64' | 'arm64' | 'other';
  labels: Readonly<Record<string, string>>;
  /**
   * If several machines are behind it: the labels of each machine in use, with the node's own added on top; undefined until they are
   * known.
   */
  machines?: readonly Readonly<Record<string, string>>[];
  /** The same of all machines, including those not in use. */
  machinesOfAll?: readonly Readonly<Record<string, string>>[];
  cpus: number;
  /** Memory that sandboxes may book: the machine's, without the reserve. */
  memory: number;
  /** The machine's memory. */
  total: number;
  /** If several machines are behind it: what the largest one in use has for sandboxes. No sandbox can be larger. */
  largest?: { memory: number; cpus: number };
  /** The same over all machines, including those not in use: a run that is larger need not wait for one to return. */
  largestOfAll?: { memory: number; cpus: number };
  /** Undefined before the first probe. */
  driver: DriverKind | undefined;
  /** Networks that its driver can give to a sandbox. */
  networks: readonly SandboxNetwork[];
  /** Whether several machines with labels of their own are behind it. */
  severalMachines: boolean;
  /** `waived`: the configuration allows the node to serve without memory limits. */
  memoryLimits: 'enforced' | 'waived' | 'missing';
  /** Whether images can be copied to it or pulled by it. */
  canObtain: boolean;
}

/** A run that is on a node. */
export interface Stay {
  /** Bytes of its sandbox. */
  memory: number;
  /** When it has ended at the latest, ms of the scheduler's clock; undefined if that is not known. */
  endsBy: number | undefined;
}

/** A node with its bookings. */
export interface NodeView {
  readonly facts: NodeFacts;
  readonly health: HealthState;
  readonly why: string | undefined;
  readonly cordoned: 'no' | 'cordoned' | 'draining';
  /** Booked memory (bytes). */
  readonly booked: number;
  /** Memory that others take on the machine, such as another katafleet's sandboxes (bytes). */
  readonly others: number;
  readonly free: number;
  readonly memory: number;
  /** Number of runs on it. */
  readonly running: number;
  /** Number of idle sandboxes of all pools. */
  readonly idle: number;
  /** Memory that gives way to a run that needs it: of idle sandboxes, and of those kept for sessions (bytes). */
  readonly gives: number;
  /** The id of the waiting run that its memory is held for. */
  readonly heldFor: string | undefined;
}

/** A node as the scheduler's own functions use it. */
export class ClusterNode implements NodeView {
  readonly slot: number;
  facts: NodeFacts;
  health: HealthState = 'probing';
  why: string | undefined;
  cordoned: 'no' | 'cordoned' | 'draining' = 'no';
  booked = 0;
  others = 0;
  running = 0;
  idle = 0;
  /** Memory of sandboxes that are kept for sessions (bytes). */
  kept = 0;
  gives = 0;
  heldFor: string | undefined;
  /** Its free memory as it is in the order of the nodes that take runs; -1 if it takes none. */
  open = -1;
  /** Its free memory when its place in that order was last set. */
  placed = 0;
  readonly pools = new Map<string, number>();
  /** The labels `key=value` of the node and of the machines behind it. */
  labels: ReadonlySet<string> = new Set();
  readonly stays = new Set<Stay>();
  /** Counts the changes of its bookings. */
  revision = 0;
  images: ReadonlySet<string> = new Set();

  constructor(slot: number, facts: NodeFacts) {
    this.slot = slot;
    this.facts = facts;
  }

  get memory(): number {
    return this.facts.memory;
  }

  get free(): number {
    return this.facts.memory - this.booked - this.others;
  }

  get usable(): boolean {
    return this.health === 'ready' && this.cordoned === 'no';
  }

  /** Returns the share of its memory that is booked, with `more` bytes added. */
  load(more = 0): number {
    return this.facts.memory > 0 ? (this.booked + this.others + more) / this.facts.memory : Infinity;
  }
}
