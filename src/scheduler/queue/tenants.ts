import { GiB } from '../../base/units.ts';

/** A tenant with runs that wait, or with more given lately than others were. */
export interface Tenant {
  readonly name: string;
  /** Virtual time: GiB of sandboxes that it has been given, no less than what the others had when it came. */
  time: number;
  waiting: number;
  /** When a run of each priority was last served, ms. */
  readonly servedAt: number[];
}

/** What a tenant that was served nothing for a while, for no node had room for its shapes, may catch up on, GiB. */
const credit = 4;
/** Tenants that may be remembered beside those with runs that wait. */
const spare = 1_000;

/** Who was given how much: start-time fair queueing over tenants, in GiB of sandboxes. */
export class Tenants {
  readonly #all = new Map<string, Tenant>();
  /** Virtual time of what was served last. */
  #now = 0;
  #waiting = 0;

  get size(): number {
    return this.#all.size;
  }

  waitingOf(name: string): number {
    return this.#all.get(name)?.waiting ?? 0;
  }

  /** One more of its runs waits. */
  joins(name: string): Tenant {
    let tenant = this.#all.get(name);
    if (!tenant) this.#all.set(name, (tenant = { name, time: this.#now, waiting: 0, servedAt: [] }));
    if (tenant.waiting === 0) tenant.time = Math.max(tenant.time, this.#now); // no credit for the past
    tenant.waiting += 1;
    this.#waiting += 1;
    return tenant;
  }

  /** Its run's turn has come. Bytes that it is charged with, ms. */
  served(tenant: Tenant, priority: number, bytes: number, now: number): void {
    tenant.servedAt[priority] = now;
    this.#now = Math.max(this.#now, tenant.time);
    if (bytes > 0) tenant.time = Math.max(tenant.time, this.#now - credit) + bytes / GiB;
  }

  /** One of its runs left the queue. Drops a tenant whose virtual time is not ahead; when the queue is empty, resets all. */
  leaves(tenant: Tenant): void {
    tenant.waiting -= 1;
    this.#waiting -= 1;
    if (this.#waiting === 0) this.#all.clear();
    else if (tenant.waiting === 0 && tenant.time <= this.#now) this.#all.delete(tenant.name);
    else if (this.#all.size > 2 * (this.#waiting + spare)) this.#trim();
  }

  /** Thousands came once and went: those that owe the least are forgotten. */
  #trim(): void {
    const gone = Array.from(this.#all.values()).filter(({ waiting }) => waiting === 0);
    gone.sort((a, b) => a.time - b.time);
    for (const { name } of gone.slice(0, this.#all.size - this.#waiting - spare)) this.#all.delete(name);
  }
}
