import type { Duplex } from 'node:stream';
import type Dockerode from 'dockerode';
import type { Sandbox, SandboxEnd, SandboxSpec } from '../contract.ts';
import { AttachStream } from './demux.ts';
import { engineError, isStatus } from '../docker/errors.ts';
import { createOptions, refusesIpv6, refusesMark, type Tries } from './options.ts';
import type { ApiVersion } from '../docker/version.ts';

/** What a sandbox needs from its driver. */
export interface EngineNode {
  docker: Dockerode;
  api: ApiVersion;
  endpoint: string;
  name: string;
  /** The Docker network of sandboxes that fetch by rsync. */
  rsyncNetwork?: string | undefined;
  /** Options that are tried until the engine refuses them. */
  tries: Readonly<Required<Tries>>;
}

/** Creates, attaches and starts a sandbox, in this order, so that no output of the supervisor is missed. */
export async function startSandbox(node: EngineNode, spec: SandboxSpec, signal?: AbortSignal): Promise<Sandbox> {
  for (;;) {
    const { tries } = node;
    try {
      return await start(node, spec, tries, signal);
    } catch (error) {
      if (tries.loopback6 && refusesIpv6(error)) node.tries = { ...node.tries, loopback6: false };
      else if (tries.mark && refusesMark(error)) node.tries = { ...node.tries, mark: false };
      else throw error;
    }
  }
}

async function start(node: EngineNode, spec: SandboxSpec, tries: Tries, signal?: AbortSignal): Promise<Sandbox> {
  signal?.throwIfAborted();
  let container: Dockerode.Container | undefined;
  let stream: AttachStream | undefined;
  try {
    container = await node.docker.createContainer(createOptions(spec, node.api, node.rsyncNetwork, tries));
    signal?.throwIfAborted();
    stream = await attach(container);
    await container.start();
    signal?.throwIfAborted();
    return new EngineSandbox(node, spec.name, container, stream);
  } catch (error) {
    stream?.destroy(); // an upgraded connection stays open if the client breaks off its calls
    if (container) await removeContainer(container, node.endpoint).catch(() => undefined); // the reaper tries again
    signal?.throwIfAborted();
    throw engineError(error, node.endpoint, 'start a sandbox');
  }
}

async function attach(container: Dockerode.Container): Promise<AttachStream> {
  // dockerode would send attach's options as a body, which would get into stdin. So this sends a query and an empty body.
  const options = { hijack: true, _query: { stream: true, stdin: true, stdout: true, stderr: true }, _body: {} };
  return new AttachStream((await container.attach(options)) as Duplex);
}

class EngineSandbox implements Sandbox {
  readonly id: string;
  readonly name: string;
  readonly node: string;
  readonly stream: Duplex;
  readonly closed: Promise<void>;
  readonly #container: Dockerode.Container;
  readonly #endpoint: string;
  #removal: Promise<void> | undefined;

  constructor(node: EngineNode, name: string, container: Dockerode.Container, stream: AttachStream) {
    this.id = container.id;
    this.name = name;
    this.node = node.name;
    this.stream = stream;
    this.#container = container;
    this.#endpoint = node.endpoint;
    this.closed = stream.carrierClosed;
  }

  async ended(signal?: AbortSignal): Promise<SandboxEnd> {
    try {
      await this.#container.wait(signal ? { abortSignal: signal } : {});
      const { State } = await this.#container.inspect();
      return { exitCode: State.ExitCode, oomKilled: State.OOMKilled };
    } catch (error) {
      throw engineError(error, this.#endpoint, 'ask how a sandbox ended');
    }
  }

  async outOfMemory(signal: AbortSignal): Promise<boolean> {
    return (await this.ended(signal)).oomKilled;
  }

  remove(): Promise<void> {
    this.stream.destroy();
    this.#removal ??= removeContainer(this.#container, this.#endpoint);
    return this.#removal;
  }
}

/** Kills and removes a container. Resolves when the engine has confirmed that it is gone. */
export async function removeContainer(container: Dockerode.Container, endpoint: string): Promise<void> {
  try {
    await container.remove({ force: true, v: true });
  } catch (error) {
    // 404: it is removed. 409: another client is removing it, and this waits until the engine no longer has it.
    if (isStatus(error, 404)) return;
    if (!isStatus(error, 409)) throw engineError(error, endpoint, 'remove a sandbox');
    await container.wait({ condition: 'removed' }).catch((gone: unknown) => {
      if (!isStatus(gone, 404)) throw engineError(gone, endpoint, 'remove a sandbox');
    });
  }
}
