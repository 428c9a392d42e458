import { KatafleetError } from './core/errors.ts';
import { type Profile, profileOf } from './core/profile.ts';
import type { RunRequest, RunResult } from './core/run.ts';
import { EngineDriver } from './drivers/engine/driver.ts';
import { endpointFromEnvironment } from './drivers/engine/endpoint.ts';
import { Node, type NodeOptions } from './fleet/node.ts';
import { buildImages, type ImageEvents } from './images/pipeline.ts';
import { run, type RunOptions } from './runs/runner.ts';

export { KatafleetError, type ErrorCode } from './core/errors.ts';
export type { Light, LightRules } from './core/lights.ts';
export { Profile } from './core/profile.ts';
export type * from './core/run.ts';
export type { RunOptions } from './runs/runner.ts';

export interface KatafleetOptions extends NodeOptions {
  /** `unix://`, `tcp://` or `ssh://`; DOCKER_HOST or the default socket if absent. */
  endpoint?: string;
  /** Folder with ca.pem, cert.pem and key.pem for tcp:// with TLS; DOCKER_CERT_PATH if absent. */
  certPath?: string;
}

/** Runs other people's code on one node. Closing it removes its idle sandboxes. */
export class Katafleet implements AsyncDisposable {
  readonly driver: EngineDriver;
  readonly #node: Node;

  /** Connects to nothing yet. @throws endpoint.invalid */
  constructor(options: KatafleetOptions = {}) {
    const given = options.endpoint === undefined ? endpointFromEnvironment(process.env) : { endpoint: options.endpoint };
    this.driver = new EngineDriver({ ...given, ...(options.certPath === undefined ? {} : { certPath: options.certPath }) });
    this.#node = new Node(this.driver, options);
  }

  /** Asks the engine what it is, and removes what dead owners left on it. @throws engine.* */
  open(): Promise<void> {
    return this.#node.open();
  }

  /** One run. A program that fails, hangs or eats all memory is an outcome. @throws KatafleetError for all else */
  run(request: RunRequest, options?: RunOptions): Promise<RunResult> {
    return run(this.#node, request, options);
  }

  /** Keeps `idle` sandboxes of an image waiting; resolves when they do. @throws KatafleetError; rejects by the signal */
  async warm(image: string, idle: number, profile: Partial<Profile> = {}, signal?: AbortSignal): Promise<void> {
    if (!Number.isInteger(idle) || idle < 0)
      throw new KatafleetError('limits.invalid', `idle: expected a whole number of sandboxes, got ${idle}`);
    const pool = await this.#node.pool(await this.#node.image(image), profileOf(profile));
    pool.resize({ min: idle, max: idle });
    await pool.filled(signal);
  }

  /** How many sandboxes of an image and profile wait now. */
  async idle(image: string, profile: Partial<Profile> = {}): Promise<number> {
    return (await this.#node.pool(await this.#node.image(image), profileOf(profile))).idle;
  }

  /** The command that an image runs where none is given. @throws image.unknown */
  async command(image: string): Promise<readonly string[] | undefined> {
    return (await this.#node.image(image)).command;
  }

  /** Builds, proves and tags the named recipes, or all, on this node. @throws recipe.*, build.failed, proof.failed */
  async buildImages(names: readonly string[], events: ImageEvents): Promise<void> {
    await this.open();
    const { driver } = this;
    const [docker, fingerprint] = [await driver.client(), await driver.probe()];
    await buildImages({ endpoint: driver.endpoint, docker, fingerprint, run: (request) => this.run(request) }, names, events);
    this.#node.forgetImages();
  }

  close(): Promise<void> {
    return this.#node.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
