import { KatafleetError } from '../core/errors.ts';
import type { Reached } from './choose.ts';
import type { Driver, DriverKind, Fingerprint, NodeImage, OwnedContainer, PreparedImage, Sandbox, SandboxSpec } from './contract.ts';
import type { EngineDriver } from './engine/driver.ts';
import type { SshDriver } from './ssh/driver.ts';
import { since } from './ssh/parse/version.ts';

/** `docker system dial-stdio`, which carries the Engine API over ssh, came with this release, on both sides. */
const dialStdio = [18, 9] as const;

/** An ssh:// endpoint, which the Engine API or the host's own docker command can serve. Which one, {@link use} is told. */
export class EndpointDriver implements Driver {
  readonly endpoint: string;
  readonly engine: EngineDriver;
  readonly #ssh: SshDriver;
  #chosen: Driver;

  constructor(engine: EngineDriver, ssh: SshDriver) {
    this.endpoint = ssh.endpoint;
    this.engine = engine;
    this.#ssh = ssh;
    this.#chosen = engine;
  }

  get kind(): DriverKind {
    return this.#chosen.kind;
  }

  /**
   * What answers there, for the choice. The host's docker command is asked first: that costs nothing on a host where it is
   * all there is, and its gate would refuse anything else. @throws what the host's docker command throws
   */
  async reach(): Promise<Reached> {
    const { engine, client, gated, engineVersion } = await this.#ssh.releases();
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
    this.#chosen = kind === 'ssh' ? this.#ssh : this.engine;
  }

  probe(): Promise<Fingerprint> {
    return this.#chosen.probe();
  }

  forget(): void {
    this.engine.forget();
    this.#ssh.forget();
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
    this.#ssh.disconnect();
  }

  // What not every driver can.
  get watchImages(): Driver['watchImages'] {
    return this.#chosen.watchImages?.bind(this.#chosen);
  }

  get exportImage(): Driver['exportImage'] {
    return this.#chosen.exportImage?.bind(this.#chosen);
  }

  get importImage(): Driver['importImage'] {
    return this.#chosen.importImage?.bind(this.#chosen);
  }

  get removeImage(): Driver['removeImage'] {
    return this.#chosen.removeImage?.bind(this.#chosen);
  }

  close(): void {
    this.engine.close();
    this.#ssh.close();
  }
}
