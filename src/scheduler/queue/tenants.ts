import { GiB } from '../../base/units.ts';

/** A tenant with waiting runs, or one that was recently given more than others. */
export interface Tenant {
  readonly name: string;
  /** Virtual time: GiB of sandboxes that it has been given; at its arrival, at least as much as the others had. */
  time: number;
  waiting: number;
  /** When a run of each priority was last served (ms). */
  readonly servedAt: number[];
  /** The shapes of its waiting runs, each with its number of lanes. */
  readonly shapes: Map<string, number>;
}

/** How far a tenant may catch up that was not served for a while because its shapes had no room (GiB). */
const credit = 4;
/** Most tenants without waiting runs that are remembered. */
const spare = 1_000;

/** Accounts for what each tenant was given: start-time fair queueing over tenants, in GiB of sandboxes. */
export class Tenants {
  readonly #all = new Map<string, Tenant>();
  /** Virtual time of the run that was served last. */
  #now = 0;
  #waiting = 0;

  get size(): number {
    return this.#all.size;
  }

  waitingOf(name: string): number {
    return this.#all.get(name)?.waiting ?? 0;
  }

  /** Whether a run of this shape would be one shape too many for the tenant; `reserved`: the shapes of its runs that will wait soon. */
  hasShapes(name: string, shape: string, most: number, reserved: ReadonlyMap<string, number> = new Map()): boolean {
    const waiting = this.#all.get(name)?.shapes ?? new Map<string, number>();
    if (waiting.has(shape) || reserved.has(shape) || waiting.size + reserved.size < most) return false;
    return new Set([...waiting.keys(), ...reserved.keys()]).size >= most;
  }

  /** Counts another waiting run of a tenant. */
  joins(name: string): Tenant {
    let tenant = this.#all.get(name);
    if (!tenant) this.#all.set(name, (tenant = { name, time: this.#now, waiting: 0, servedAt: [], shapes: new Map() }));
    if (tenant.waiting === 0) tenant.time = Math.max(tenant.time, this.#now); // no credit for the past
    tenant.waiting += 1;
    this.#waiting += 1;
    return tenant;
  }

  /** Charges a tenant for a served run: `bytes` of memory, at `now` (ms). */
  served(tenant: Tenant, priority: number, bytes: number, now: number): void {
    tenant.servedAt[priority] = now;
    this.#now = Math.max(this.#now, tenant.time);
    if (bytes > 0) tenant.time = Math.max(tenant.time, this.#now - credit) + bytes / GiB;
  }

  /** Counts a run that left the queue. Drops a tenant whose virtual time is not ahead; resets all tenants when the queue is empty. */
  leaves(tenant: Tenant): void {
    tenant.waiting -= 1;
    this.#waiting -= 1;
    if (this.#waiting === 0) this.#all.clear();
    else if (tenant.waiting === 0 && tenant.time <= this.#now) this.#all.delete(tenant.name);
    else if (this.#all.size > 2 * (this.#waiting + spare)) this.#trim();
  }

  /** Drops the tenants that owe the least, after thousands have come once and left. */
  #trim(): void {
    const gone = Array.from(this.#all.values()).filter(({ waiting }) => waiting === 0);
    gone.sort((a, b) => a.time - b.time);
    for (const { name } of gone.slice(0, this.#all.size - this.#waiting - spare)) this.#all.delete(name);
  }
}
