import { KatafleetError } from '../model/errors.ts';
import type { Reached } from './choose.ts';
import type { Driver, DriverKind, Fingerprint, NodeImage, OwnedContainer, PreparedImage, Sandbox, SandboxSpec } from './contract.ts';
import type { EngineDriver } from './engine/driver.ts';
import type { SshDriver } from './ssh/driver.ts';
import { since } from './ssh/parse/version.ts';
import type { SwarmDriver } from './swarm/driver.ts';

/** `docker system dial-stdio`, which carries the Engine API over ssh, came with this release, on both sides. */
const dialStdio = [18, 9] as const;

/** What can serve an endpoint. */
export interface EndpointDrivers {
  engine: EngineDriver;
  /** For ssh:// endpoints. */
  ssh?: SshDriver | undefined;
  /** Made when it is chosen, and not before: it listens on a port of this machine. @throws what keeps it from being made */
  swarm: () => SwarmDriver;
}

/** An endpoint that one of several drivers serves. Which one, {@link use} is told. */
export class EndpointDriver implements Driver {
  readonly endpoint: string;
  readonly engine: EngineDriver;
  readonly reach: (() => Promise<Reached>) | undefined;
  readonly #drivers: EndpointDrivers;
  #swarm: SwarmDriver | undefined;
  #chosen: Driver;

  constructor(drivers: EndpointDrivers) {
    const { engine, ssh } = drivers;
    this.endpoint = (ssh ?? engine).endpoint;
    this.engine = engine;
    this.#drivers = drivers;
    this.#chosen = engine;
    this.reach = ssh && (() => this.#reachBy(ssh));
  }

  get kind(): DriverKind {
    return this.#chosen.kind;
  }

  /**
   * What answers there, for the choice. The host's docker command is asked first: that costs nothing on a host where it is
   * all there is, and its gate would refuse anything else. @throws what the host's docker command throws
   */
  async #reachBy(ssh: SshDriver): Promise<Reached> {
    const { engine, client, gated, engineVersion } = await ssh.releases();
    if (!since(engine, ...dialStdio)) return { api: 'too_old', engineVersion };
    if (!since(client, ...dialStdio)) return { api: 'none', why: `its docker command (${client.join('.')}) has no dial-stdio` };
    if (gated) return { api: 'none', why: 'its gate admits the docker command only' };
    try {
      return { api: 'usable', fingerprint: await this.engine.probe() };
    } catch (error) {
      if (error instanceof KatafleetError) return { api: 'none', why: error.message };
      throw error;
    }
  }

  use(kind: DriverKind): void {
    const { engine, ssh, swarm } = this.#drivers;
    if (kind === 'swarm') this.#chosen = this.#swarm ??= swarm();
    else this.#chosen = kind === 'ssh' && ssh ? ssh : engine;
  }

  /** What there is; of the engine alone where it does not manage a swarm any more, so that the choice is made anew. */
  async probe(): Promise<Fingerprint> {
    try {
      return await this.#chosen.probe();
    } catch (error) {
      const left = error instanceof KatafleetError && (error.code === 'swarm.no_manager' || error.code === 'swarm.locked');
      if (!left || this.#chosen !== this.#swarm) throw error;
      this.#chosen = this.engine;
      return this.engine.probe();
    }
  }

  forget(): void {
    this.engine.forget();
    this.#drivers.ssh?.forget();
    this.#swarm?.forget();
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
    this.engine.disconnect();
    this.#drivers.ssh?.disconnect();
    this.#swarm?.disconnect();
  }

  // What not every driver can.
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

  get members(): Driver['members'] {
    return this.#chosen.members?.bind(this.#chosen);
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

  async close(): Promise<void> {
    await this.#swarm?.close();
    this.engine.close();
    this.#drivers.ssh?.close();
  }
}
