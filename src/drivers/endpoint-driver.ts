import type { DriverKind } from '../model/driver-kind.ts';
import { KatafleetError } from '../model/errors.ts';
import type { Driver, Fingerprint, NodeImage, OwnedContainer, PreparedImage, Reached, Sandbox, SandboxSpec } from './contract.ts';
import type { EngineDriver } from './engine/driver.ts';
import type { SshDriver } from './ssh/driver.ts';

/** The drivers that can serve an endpoint. */
export interface EndpointDrivers {
  engine: EngineDriver;
  /** For ssh:// endpoints: finds out first whether the engine can be reached. */
  ssh?: SshDriver | undefined;
  /** Makes another driver when it is chosen, not earlier: a swarm's driver listens on a port. @throws what keeps it from being made */
  connect: (kind: DriverKind) => Driver;
}

/** Every member of the contract, also the optional ones: a member that is not forwarded does not compile. */
type WholeContract = { [Member in keyof Required<Driver>]: Driver[Member] };

/** An endpoint that one of several drivers serves; {@link use} chooses it. */
export class EndpointDriver implements WholeContract {
  readonly endpoint: string;
  readonly engine: EngineDriver;
  readonly reach: (() => Promise<Reached>) | undefined;
  readonly #connect: (kind: DriverKind) => Driver;
  /** The drivers that were made, in that order. */
  readonly #made = new Map<DriverKind, Driver>();
  #chosen: Driver;

  constructor({ engine, ssh, connect }: EndpointDrivers) {
    this.endpoint = engine.endpoint;
    this.engine = engine;
    this.#connect = connect;
    for (const driver of [ssh, engine]) if (driver) this.#made.set(driver.kind, driver);
    this.#chosen = engine;
    this.reach = ssh && (() => this.#reachBy(ssh));
  }

  get kind(): DriverKind {
    return this.#chosen.kind;
  }

  /**
   * Finds out what answers, for the choice. Asks the host's docker command first: on a host without a usable API nothing else is
   * needed, and its gate would refuse anything else. @throws what the host's docker command throws
   */
  async #reachBy(ssh: SshDriver): Promise<Reached> {
    const without = await ssh.withoutApi();
    if (without) return without;
    try {
      return { api: 'usable', fingerprint: await this.engine.probe() };
    } catch (error) {
      if (error instanceof KatafleetError) return { api: 'none', why: error.message };
      throw error;
    }
  }

  use(kind: DriverKind): void {
    const made = this.#made.get(kind) ?? this.#connect(kind);
    this.#made.set(kind, made);
    this.#chosen = made;
  }

  /** Probes the chosen driver. If the engine no longer manages a swarm, probes the engine, so that the choice is made again. */
  async probe(): Promise<Fingerprint> {
    try {
      return await this.#chosen.probe();
    } catch (error) {
      const left = error instanceof KatafleetError && (error.code === 'swarm.no_manager' || error.code === 'swarm.locked');
      if (!left || this.#chosen === this.engine) throw error;
      this.#chosen = this.engine;
      return this.engine.probe();
    }
  }

  forget(): void {
    for (const driver of this.#made.values()) driver.forget();
  }

  prepare(image: string): Promise<PreparedImage> {
    return this.#chosen.prepare(image);
  }

  create(spec: SandboxSpec, signal?: AbortSignal): Promise<Sandbox> {
    return this.#chosen.create(spec, signal);
  }

  list(): Promise<OwnedContainer[]> {
    return this.#chosen.list();
  }

  remove(id: string): Promise<void> {
    return this.#chosen.remove(id);
  }

  images(): Promise<NodeImage[]> {
    return this.#chosen.images();
  }

  ping(signal: AbortSignal): Promise<void> {
    return this.#chosen.ping(signal);
  }

  disconnect(): void {
    for (const driver of this.#made.values()) driver.disconnect();
  }

  // Members that only some drivers have.
  get watchImages(): Driver['watchImages'] {
    return this.#chosen.watchImages?.bind(this.#chosen);
  }

  get exportImage(): Driver['exportImage'] {
    return this.#chosen.exportImage?.bind(this.#chosen);
  }

  get archiveBytes(): Driver['archiveBytes'] {
    return this.#chosen.archiveBytes?.bind(this.#chosen);
  }

  get importImage(): Driver['importImage'] {
    return this.#chosen.importImage?.bind(this.#chosen);
  }

  get removeImage(): Driver['removeImage'] {
    return this.#chosen.removeImage?.bind(this.#chosen);
  }

  get machines(): Driver['machines'] {
    return this.#chosen.machines?.bind(this.#chosen);
  }

  get identify(): Driver['identify'] {
    return this.#chosen.identify?.bind(this.#chosen);
  }

  get listsFast(): boolean | undefined {
    return this.#chosen.listsFast;
  }

  get createdAt(): Driver['createdAt'] {
    return this.#chosen.createdAt?.bind(this.#chosen);
  }

  get setAvailability(): Driver['setAvailability'] {
    return this.#chosen.setAvailability?.bind(this.#chosen);
  }

  get troubles(): Driver['troubles'] {
    return this.#chosen.troubles?.bind(this.#chosen);
  }

  get starts(): number | undefined {
    return this.#chosen.starts;
  }

  get independent(): boolean | undefined {
    return this.#chosen.independent;
  }

  /** Closes the driver that was made last first, because it may use the others. */
  async close(): Promise<void> {
    for (const driver of Array.from(this.#made.values()).reverse()) await driver.close();
  }
}
