import type { Readable } from 'node:stream';
import { toV1Archive } from './archive/convert.ts';
import { defined } from '../../base/defined.ts';
import { Memo } from '../../base/memo.ts';
import { KatafleetError } from '../../model/errors.ts';
import { labels } from '../../model/labels.ts';
import { defaultUids, type Uids } from '../../model/users.ts';
import type { Driver, Fingerprint, NodeImage, OwnedContainer, PreparedImage, Reached, Sandbox, SandboxSpec } from '../contract.ts';
import { declared, imageArchitecture, imageCommandOf } from '../docker/image-labels.ts';
import { memoryOf } from '../docker/container-name.ts';
import { supervisorBinary } from '../docker/supervisor.ts';
import type { SshTransport } from '../transport/transport.ts';
import { namesAll } from '../docker/names.ts';
import { adapt, needsNames } from './adapt.ts';
import { VerifiedImages } from './verified-images.ts';
import { fingerprint } from './fingerprint.ts';
import { imageWord } from './flags.ts';
import { decodeValue } from './labels.ts';
import { type InspectedContainer, type InspectedImage } from './parse/inspect.ts';
import { parseRelease, type Release, since } from './parse/version.ts';
import { type Gate, RemoteDocker } from './remote.ts';
import { type SshNode, SshSandbox } from './sandbox.ts';

interface ProbedHost extends SshNode {
  fingerprint: Fingerprint;
  gate: Gate | undefined;
  /** Release of the node's docker command; its engine may have another. */
  client: Release;
}

/** Time between two checks of the running sandboxes, ms: a client of 1.6 does not report that its container has ended. */
const lookMs = 2_000;

/** First release of client and engine with `docker system dial-stdio`, which carries the Engine API over ssh. */
const dialStdio = [18, 9] as const;

/** A node's own docker command, over ssh: Docker 1.6 and later. */
export class SshDriver implements Driver {
  readonly kind = 'ssh';
  readonly endpoint: string;
  readonly #transport: SshTransport;
  readonly #remote: RemoteDocker;
  readonly #uids: Uids;
  readonly #probed = new Memo(() => this.#ask());
  /** Running sandboxes by their containers' names. */
  readonly #sandboxes = new Map<string, SshSandbox>();
  #looking: NodeJS.Timeout | undefined;
  /** Labels of images, by id: they never change. */
  readonly #labels = new Map<string, Readonly<Record<string, string>>>();
  readonly #carried: VerifiedImages;

  constructor(transport: SshTransport, uids: Uids = defaultUids) {
    this.#uids = uids;
    this.#transport = transport;
    this.endpoint = transport.endpoint;
    this.#remote = new RemoteDocker(transport);
    this.#carried = new VerifiedImages(this.#remote, async () => (await this.#node()).release);
  }

  async probe(): Promise<Fingerprint> {
    return (await this.#node()).fingerprint;
  }

  /** Why this host's docker does not give access to the Engine API; undefined if it does. @throws as {@link probe} */
  async withoutApi(): Promise<Exclude<Reached, { api: 'usable' }> | undefined> {
    const { release, client, gate, fingerprint: found } = await this.#node();
    if (!since(release, ...dialStdio)) return { api: 'too_old', engineVersion: found.engineVersion };
    if (!since(client, ...dialStdio)) return { api: 'none', why: `its docker command (${client.join('.')}) has no dial-stdio` };
    return gate && { api: 'none', why: 'its gate admits the docker command only' };
  }

  forget(): void {
    this.#probed.forget();
  }

  #node(): Promise<ProbedHost> {
    return this.#probed.get();
  }

  async #ask(): Promise<ProbedHost> {
    const gate = await this.#remote.hello();
    const [version, info] = await Promise.all([this.#remote.version(), this.#remote.info()]);
    const found = fingerprint(version, info);
    return {
      remote: this.#remote,
      name: found.node,
      release: parseRelease(version.server),
      client: parseRelease(version.client),
      limitsMemory: found.enforces.memory,
      fingerprint: found,
      gate,
      installedSupervisor: await installed(gate, found),
    };
  }

  async prepare(name: string): Promise<PreparedImage> {
    const node = await this.#node();
    const image = await this.#find(name, node);
    const [volume] = image.volumes.filter((path) => path !== '/sandbox' && path !== '/tmp');
    if (volume !== undefined) {
      throw new KatafleetError(
        'image.unsuitable',
        `the image ${name} declares the volume ${volume}: programs could fill the disk of ${this.#transport.at} there`,
        {
          hint: 'build it without VOLUME, or run it on a node with an Engine API, which covers volumes',
        },
      );
    }
    const { id, labels: own } = node.installedSupervisor === undefined ? await this.#withSupervisor(image, name, node) : image;
    return { name, id, volumes: image.volumes, ...declared(own, name), ...imageCommandOf(image.config) };
  }

  async #find(name: string, { release }: ProbedHost): Promise<InspectedImage> {
    const id = /^(?:sha256:)?([0-9a-f]{64})$/.exec(name)?.[1];
    // docker inspect looks for a container of that name first. A container's name has no tag.
    const tagged = /[:@][^/]*$/.test(name) ? name : `${name}:latest`;
    const names = id === undefined ? [tagged, ...(/[/@]/.test(name) ? [] : [`katafleet/${tagged}`])] : [imageWord(`sha256:${id}`, release)];
    const sound = names.every((one) => /^[a-z0-9][a-z0-9._/:@-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?$/.test(one));
    const [image] = sound ? (await this.#remote.inspect(names)).images : [];
    if (image) return image;
    throw new KatafleetError('image.unknown', `no image "${name}" on the node ${this.#transport.at}`, {
      hint: `katafleet images distribute ${name}, where another node has it`,
    });
  }

  async #withSupervisor(image: InspectedImage, name: string, { gate, release }: ProbedHost): Promise<InspectedImage> {
    const supervisor = await supervisorBinary(imageArchitecture(image.architecture, name));
    const carries = image.labels[labels.supervisor] === supervisor.sha256;
    if (gate && carries) return image; // the gate admits no look into images; the node's owner chose the ones that are there
    if (!gate) {
      const ready = carries && (!needsNames(release) || namesAll(image.labels, this.#uids));
      if (ready && (await this.#carried.holds(image.id, supervisor))) return image;
      return adapt(this.#remote, image, supervisor, release, this.#uids, this.#carried);
    }
    const has = gate.supervisor ? 'that of another version' : 'none';
    throw new KatafleetError(
      'supervisor.missing',
      `the image ${name} carries no supervisor of this version, and ${this.#transport.at} has ${has} installed`,
      { hint: 'run scripts/node-setup of this katafleet on the node again' },
    );
  }

  async create(spec: SandboxSpec, signal?: AbortSignal): Promise<Sandbox> {
    signal?.throwIfAborted();
    const node = await this.#node();
    signal?.throwIfAborted();
    const sandbox = new SshSandbox(node, spec);
    this.#sandboxes.set(sandbox.id, sandbox);
    void sandbox.closed.then(() => this.#sandboxes.delete(sandbox.id));
    this.#lookLater();
    await sandbox.started(signal);
    return sandbox;
  }

  #lookLater(): void {
    this.#looking ??= setTimeout(() => void this.#look(), lookMs).unref();
  }

  async #look(): Promise<void> {
    const names = Array.from(this.#sandboxes.keys());
    try {
      if (names.length > 0) {
        const running = new Set((await this.#remote.inspect(names)).containers.filter((one) => one.running).map(({ name }) => name));
        for (const name of names) if (!running.has(name)) this.#sandboxes.get(name)?.notRunning();
      }
    } catch {
      // The node's health checks find out whether it answers.
    } finally {
      this.#looking = undefined;
      if (this.#sandboxes.size > 0) this.#lookLater();
    }
  }

  async list(): Promise<OwnedContainer[]> {
    const { containers } = await this.#remote.inspect(await this.#remote.containerIds());
    return containers.filter((container) => labels.role in container.labels).map(owned);
  }

  async remove(id: string): Promise<void> {
    await this.#remote.remove(id);
    this.#sandboxes.get(id)?.notRunning();
  }

  async images(): Promise<NodeImage[]> {
    const { release } = await this.#node();
    const listed = await this.#remote.images();
    const unknown = listed.filter(({ id }) => !this.#labels.has(id)).map(({ id }) => imageWord(id, release));
    for (const image of (await this.#remote.inspect(unknown)).images) this.#labels.set(image.id, image.labels);
    return listed.map((image) => ({ ...image, digests: [], labels: this.#labels.get(image.id) ?? {} }));
  }

  async identify(signal: AbortSignal): Promise<Fingerprint> {
    const [version, info] = await Promise.all([this.#remote.version(signal), this.#remote.info(signal)]);
    return fingerprint(version, info);
  }

  async ping(signal: AbortSignal): Promise<void> {
    await this.#remote.version(signal);
  }

  async importImage(archive: Readable): Promise<void> {
    const { release } = await this.#node();
    if (since(release, 1, 10)) {
      await this.#remote.load(archive);
      return;
    }
    await using converted = await toV1Archive(archive);
    await this.#remote.load(converted.archive);
    // docker load prints nothing here, even on failure. Check by name: a later engine behind an old client gives other ids.
    for (const { id, names } of converted.images) {
      const name = names[0] ?? id;
      const { images } = await this.#remote.inspect([name]);
      if (images.length === 0)
        throw new KatafleetError('engine.failed', `${this.#transport.at} loaded the image ${name}, but does not list it`);
    }
  }

  disconnect(): void {
    void this.#transport.disconnect();
  }

  close(): void {
    clearTimeout(this.#looking);
    void this.#transport.close();
  }
}

/** Path of the supervisor that is installed on the node, if it is this katafleet's own. */
async function installed(gate: Gate | undefined, { architecture }: Fingerprint): Promise<string | undefined> {
  if (!gate?.supervisor || architecture === 'other') return undefined;
  const { sha256 } = await supervisorBinary(architecture);
  return gate.supervisor.sha256 === sha256 ? gate.supervisor.path : undefined;
}

function owned({ id, name, running, alive, created, labels: own }: InspectedContainer): OwnedContainer {
  const decoded = Object.entries(own).map(([key, value]) => [key, key.startsWith('katafleet.') ? decodeValue(value) : value] as const);
  const readable = Object.fromEntries(decoded);
  return {
    id: name.startsWith('katafleet-') ? name : id,
    running,
    alive,
    ...defined({ created, memory: memoryOf(readable, name) }),
    labels: readable,
  };
}
