import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { finished } from 'node:stream/promises';
import Dockerode from 'dockerode';
import { z } from 'zod';
import { abortable } from '../../base/deadline.ts';
import { defined } from '../../base/defined.ts';
import { Memo } from '../../base/memo.ts';
import { maskEndpoint } from '../../model/endpoint.ts';
import { KatafleetError, messageOf } from '../../model/errors.ts';
import { labels } from '../../model/labels.ts';
import type { Driver, Fingerprint, NodeImage, OwnedContainer, PreparedImage, Sandbox, SandboxSpec } from '../contract.ts';
import { defaultUids, type Uids } from '../../model/users.ts';
import { declared, imageArchitecture, imageCommandOf } from '../docker/image-labels.ts';
import { lacksLandlock } from '../docker/isolation.ts';
import { namesAll } from '../docker/names.ts';
import { supervisorBinary } from '../docker/supervisor.ts';
import type { SshTransport } from '../transport/transport.ts';
import { archiveBytes } from './archive-bytes.ts';
import { adapt } from './adapt.ts';
import { SupervisorImages } from './carried.ts';
import { RememberedFacts } from './remembered.ts';
import { connect, type EngineConnection, type TlsFiles } from './endpoint.ts';
import { engineError } from '../docker/errors.ts';
import { memoryOf } from '../docker/container-name.ts';
import { exactTime } from '../docker/exact-time.ts';
import { inspectImage } from '../docker/inspect.ts';
import { fingerprint } from './fingerprint.ts';
import { type EngineNode, removeContainer, startSandbox } from './sandbox.ts';
import { pinger } from './ping.ts';
import { type ApiVersion, atLeast, negotiate, parseApiVersion } from '../docker/version.ts';

interface ProbedEngine extends EngineNode {
  api: ApiVersion;
  fingerprint: Fingerprint;
}

export interface EngineDriverOptions {
  endpoint: string;
  /** TLS files for tcp://, or a folder with ca.pem, cert.pem and key.pem. */
  tls?: string | TlsFiles | undefined;
  /** Connections for ssh://. Other drivers may share them. */
  transport?: SshTransport | undefined;
  /** The Docker network of sandboxes that fetch by rsync. If absent, such sandboxes are refused. */
  rsyncNetwork?: string | undefined;
  /** The uids of its sandboxes' users; the default range if absent. */
  uids?: Uids | undefined;
  /** Folder of a cache that outlives this process; no cache if absent. */
  cache?: string | undefined;
}

/** The fields of `GET /version` that are read. */
const Version = z.object({
  Version: z.string().default('of unknown version'),
  ApiVersion: z.string(),
  MinAPIVersion: z.string().optional(),
});

/** States of containers that have ended. */
const over: ReadonlySet<string> = new Set(['exited', 'dead', 'removing']);

/** How long an engine may take to answer a probe (ms). */
const probeMs = 10_000;

/** The plain Engine API of one node. */
export class EngineDriver implements Driver {
  readonly kind = 'engine';
  readonly listsFast = true;
  readonly endpoint: string;
  readonly #connection: EngineConnection;
  readonly #rsyncNetwork: string | undefined;
  readonly #uids: Uids;
  readonly #carried: SupervisorImages;
  readonly #ping: (signal: AbortSignal) => Promise<void>;
  readonly #probed = new Memo(() => this.#ask());

  /** @throws endpoint.invalid */
  constructor(options: EngineDriverOptions) {
    this.endpoint = maskEndpoint(options.endpoint);
    this.#connection = connect(options.endpoint, options.tls, options.transport);
    this.#ping = pinger(this.#connection.options);
    this.#rsyncNetwork = options.rsyncNetwork;
    this.#uids = options.uids ?? defaultUids;
    this.#carried = new SupervisorImages(options.cache === undefined ? undefined : new RememberedFacts(join(options.cache, 'supervisors')));
  }

  async probe(): Promise<Fingerprint> {
    return (await this.#node()).fingerprint;
  }

  forget(): void {
    this.#probed.forget();
  }

  /** The engine's client with the negotiated API version, for building images. */
  async client(): Promise<Dockerode> {
    return (await this.#node()).docker;
  }

  #node(): Promise<ProbedEngine> {
    return this.#probed.get();
  }

  async #ask(): Promise<ProbedEngine> {
    try {
      const deadline = AbortSignal.timeout(probeMs);
      const unversioned = new Dockerode(this.#connection.options);
      // Asks at once, in the engine's own version, which is nearly always the negotiated one.
      const early = this.#info(unversioned, deadline).catch(() => undefined); // the second question reports the error
      const said = Version.safeParse(await this.#inTime(deadline, unversioned.version()));
      if (!said.success) {
        throw new KatafleetError('engine.failed', `the server at ${this.endpoint} is not a Docker engine: it reports no API version`);
      }
      const api = negotiate(said.data);
      const docker = new Dockerode({ ...this.#connection.options, version: `v${api.join('.')}` });
      const own = parseApiVersion(said.data.ApiVersion);
      const { answer, at } = (atLeast(api, own) ? await early : undefined) ?? (await this.#info(docker, deadline));
      const found = fingerprint(answer, api, at);
      return {
        docker,
        api,
        endpoint: this.endpoint,
        name: found.node,
        rsyncNetwork: this.#rsyncNetwork,
        tries: { loopback6: true, mark: lacksLandlock(found.kernel) },
        fingerprint: found,
      };
    } catch (error) {
      throw engineError(error, this.endpoint, 'probe the engine');
    }
  }

  /** Returns the engine's `GET /info`, and the time halfway between request and answer (Unix ms). */
  async #info(docker: Dockerode, deadline: AbortSignal): Promise<{ answer: unknown; at: number }> {
    const asked = Date.now();
    const answer: unknown = await this.#inTime(deadline, docker.info());
    return { answer, at: (asked + Date.now()) / 2 };
  }

  /** Rejects when the signal is aborted, even if a silent engine never ends the call. */
  async #inTime<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
    try {
      return await abortable(signal, work);
    } catch (error) {
      if (!signal.aborted || error !== signal.reason) throw error;
      throw new KatafleetError('engine.timeout', `the engine at ${this.endpoint} takes the call and does not answer`, { cause: error });
    }
  }

  async #do<T>(doing: string, body: (node: ProbedEngine) => Promise<T>): Promise<T> {
    const node = await this.#node();
    try {
      return await body(node);
    } catch (error) {
      throw engineError(error, this.endpoint, doing);
    }
  }

  prepare(name: string): Promise<PreparedImage> {
    return this.#do(`prepare the image ${name}`, async (node) => {
      const image =
        (await inspectImage(node.docker, name)) ?? (/[/@]/.test(name) ? undefined : await inspectImage(node.docker, `katafleet/${name}`));
      if (!image) {
        throw new KatafleetError('image.unknown', `no image "${name}" on the node ${node.name}`, {
          hint: `katafleet images build ${name}, if it is one of katafleet's recipes; docker pull ${name}, if it is in a registry`,
        });
      }
      const architecture = imageArchitecture(image.Architecture, name);
      const supervisor = await supervisorBinary(architecture);
      const own = (image.Config.Labels ?? {}) as Record<string, string>;
      const says = own[labels.supervisor] === supervisor.sha256 && namesAll(own, this.#uids);
      const ready = says && (await this.#carried.holds(node.docker, image.Id, supervisor));
      const adapted = ready ? image : await adapt(node.docker, image, supervisor, this.#uids, this.#carried);
      return {
        name,
        id: adapted.Id,
        volumes: Object.keys(image.Config.Volumes ?? {}),
        ...declared(adapted.Config.Labels ?? {}, name),
        ...imageCommandOf(image.Config),
      };
    });
  }

  create(spec: SandboxSpec, signal?: AbortSignal): Promise<Sandbox> {
    return this.#node().then((node) => startSandbox(node, spec, signal));
  }

  list(): Promise<OwnedContainer[]> {
    return this.#do('list containers', async ({ docker }) => {
      const all = await docker.listContainers({ all: true, filters: { label: [labels.role] } });
      // Filters again, because an engine silently ignores a filter that it does not know: only our containers may be removed.
      const ours = all.filter((container) => labels.role in container.Labels);
      return ours.map(({ Id, Names, State, Created, Labels }) => ({
        id: Id,
        running: State === 'running',
        alive: !over.has(State),
        created: Created * 1_000,
        ...defined({ memory: memoryOf(Labels, (Names ?? [])[0]) }),
        labels: Labels,
      }));
    });
  }

  createdAt(id: string): Promise<number | undefined> {
    return this.#do('inspect a container', async ({ docker }) => exactTime((await docker.getContainer(id).inspect()).Created));
  }

  remove(id: string): Promise<void> {
    return this.#do('remove a container', ({ docker }) => removeContainer(docker.getContainer(id), this.endpoint));
  }

  images(): Promise<NodeImage[]> {
    return this.#do('list images', async ({ docker }) => {
      const all = await docker.listImages();
      return all.map((image) => ({
        id: image.Id,
        tags: image.RepoTags ?? [],
        digests: image.RepoDigests ?? [],
        size: image.Size,
        labels: image.Labels ?? {},
      }));
    });
  }

  async identify(signal: AbortSignal): Promise<Fingerprint> {
    const { docker, api } = await this.#inTime(signal, this.#node());
    try {
      const { answer, at } = await this.#info(docker, signal);
      return fingerprint(answer, api, at);
    } catch (error) {
      throw engineError(error, this.endpoint, 'ask the engine what it is');
    }
  }

  async ping(signal: AbortSignal): Promise<void> {
    try {
      await this.#ping(signal);
    } catch (error) {
      throw engineError(error, this.endpoint, 'ping the engine');
    }
  }

  watchImages(changed: () => void, signal: AbortSignal): Promise<void> {
    return this.#do('follow the events', async ({ docker }) => {
      const events = (await docker.getEvents({ filters: { type: ['image'] }, abortSignal: signal } as object)) as Readable;
      const stop = () => events.destroy();
      signal.addEventListener('abort', stop, { once: true });
      try {
        for await (const _ of events) changed();
      } finally {
        signal.removeEventListener('abort', stop);
      }
    });
  }

  archiveBytes(name: string): Promise<number | undefined> {
    return this.#do(`measure the image ${name}`, ({ docker }) => archiveBytes(docker, name));
  }

  exportImage(name: string): Promise<Readable> {
    return this.#do(`save the image ${name}`, async ({ docker }) => (await docker.getImage(name).get()) as Readable);
  }

  importImage(archive: Readable): Promise<void> {
    const doing = 'load an image';
    return this.#do(doing, async ({ docker }) => {
      // docker-modem only pipes the archive: if the archive breaks off, this aborts the call and reports the archive's error.
      const stop = new AbortController();
      let broken: unknown;
      finished(archive, { writable: false }).catch((cause: unknown) => {
        broken = cause;
        stop.abort(cause);
      });
      try {
        const options: object = { quiet: true, abortSignal: stop.signal };
        const answer = (await docker.loadImage(archive, options)) as Readable;
        let said = '';
        for await (const chunk of answer) said = (said + String(chunk)).slice(-10_000);
        const message = /"error"\s*:\s*"((?:[^"\\]|\\.)*)"/.exec(said)?.[1];
        if (message !== undefined) throw engineError({ statusCode: 500, json: { message } }, this.endpoint, doing);
      } catch (cause) {
        if (broken === undefined) throw cause;
        throw new KatafleetError('engine.failed', `the archive for ${this.endpoint} broke off: ${messageOf(broken)}`, { cause: broken });
      }
    });
  }

  removeImage(name: string): Promise<void> {
    return this.#do(`remove the image ${name}`, async ({ docker }) => {
      await docker.getImage(name).remove();
    });
  }

  disconnect(): void {
    this.#connection.disconnect();
  }

  close(): void {
    this.#connection.close();
  }
}
