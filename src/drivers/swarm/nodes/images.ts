import type Dockerode from 'dockerode';
import { minute } from '../../../base/units.ts';
import { KatafleetError, messageOf } from '../../../model/errors.ts';
import { inspectImage } from '../../docker/inspect.ts';
import type { Machine } from '../../../model/node.ts';
import type { Driver, PreparedImage } from '../../contract.ts';
import { declared, imageArchitecture, imageCommandOf } from '../../docker/image-labels.ts';
import type { Managers } from './managers.ts';

/** An image as the swarm's tasks name it. */
export interface SwarmImage {
  prepared: PreparedImage;
  architecture: 'amd64' | 'arm64';
  /** An id, or `repository@sha256:…`. */
  reference: string;
}

export interface SwarmImagesOptions {
  managers: Managers;
  /** Engines of the swarm's nodes that can be reached directly. */
  workers: readonly Driver[];
  /** The registry for images that some node lacks. */
  registry: string | undefined;
  /** Makes every node that takes tasks pull an image. Returns the ids of the nodes that could not. */
  pull: (reference: string, architecture: 'amd64' | 'arm64') => Promise<string[]>;
  /** Called when the reference of an image, or the nodes that lack it, have changed. */
  onChange: (image: string) => void;
  onTrouble: (message: string) => void;
}

/** How long a push may take (ms). */
const pushMs = 10 * minute;
/** Nodes that lack an image are tried again after this time (ms). */
const lackingMs = 10 * minute;

/** Knows by which reference tasks name an image and which nodes lack it, and brings it there. */
export class SwarmImages {
  readonly #options: SwarmImagesOptions;
  /** By id. */
  readonly #pushed = new Map<string, string>();
  readonly #lacking = new Map<string, Map<string, number>>();
  /** Nodes to which the image has not been brought yet. */
  readonly #due = new Map<string, readonly Machine[]>();
  readonly #bringing = new Map<string, Promise<void>>();

  constructor(options: SwarmImagesOptions) {
    this.#options = options;
  }

  /** @throws image.unknown, engine.*, swarm.* */
  prepare(name: string, several: boolean): Promise<SwarmImage> {
    return this.#options.managers.do(`prepare the image ${name}`, async (docker) => {
      const image = (await inspectImage(docker, name)) ?? (/[/@]/.test(name) ? undefined : await inspectImage(docker, `katafleet/${name}`));
      if (!image) {
        throw new KatafleetError('image.unknown', `no image "${name}" on the manager ${this.#options.managers.current.endpoint}`, {
          hint: `katafleet images build ${name}, if it is one of katafleet's recipes; docker pull ${name} on the manager, if it is in a registry`,
        });
      }
      const own = (image.Config.Labels ?? {}) as Record<string, string>;
      const digest = image.RepoDigests.find((one) => !one.startsWith('<none>'));
      return {
        prepared: {
          name,
          id: image.Id,
          volumes: Object.keys(image.Config.Volumes ?? {}),
          ...declared(own, name),
          ...imageCommandOf(image.Config),
        },
        architecture: imageArchitecture(image.Architecture, name),
        // If other nodes may have to pull the image, they need a digest. With an id, no node asks a registry.
        reference: this.#pushed.get(image.Id) ?? (several && digest !== undefined ? digest : image.Id),
      };
    });
  }

  /** Returns the ids of the nodes that are known to lack an image, given by its id. */
  lacking(image: string): string[] {
    const known = this.#lacking.get(image) ?? new Map<string, number>();
    return Array.from(known.keys()).sort();
  }

  /** Forgets which nodes lack an image, because they may have it by now. */
  forget(image?: string): void {
    for (const [id, nodes] of this.#lacking) {
      if (image !== undefined && id !== image) continue;
      const before = nodes.size;
      for (const [node, at] of nodes) if (image !== undefined || performance.now() - at >= lackingMs) nodes.delete(node);
      if (nodes.size < before) this.#options.onChange(id);
    }
  }

  /** Notes that nodes lack the image, and brings it there. Until then no task is placed on them. */
  found(image: string, nodes: readonly Machine[]): void {
    const known = this.#lacking.get(image) ?? new Map<string, number>();
    this.#lacking.set(image, known);
    const fresh = nodes.filter(({ id }) => !known.has(id));
    if (fresh.length === 0) return;
    for (const { id } of fresh) known.set(id, performance.now());
    this.#options.onChange(image);
    const due = this.#due.get(image) ?? [];
    this.#due.set(image, [...due, ...fresh]);
    if (!this.#bringing.has(image)) this.#bringing.set(image, this.#bringAll(image));
  }

  /** Brings an image to the nodes that lack it, also to those that are found meanwhile. */
  async #bringAll(image: string): Promise<void> {
    for (let nodes = this.#due.get(image); nodes !== undefined; nodes = this.#due.get(image)) {
      this.#due.delete(image);
      try {
        await this.#bring(image, nodes);
      } catch (error) {
        this.#options.onTrouble(`the image ${image.slice(7, 19)} could not be brought: ${messageOf(error)}`);
      }
    }
    this.#bringing.delete(image);
  }

  async #bring(image: string, nodes: readonly Machine[]): Promise<void> {
    const { registry } = this.#options;
    if (registry !== undefined) return this.#push(image, registry);
    const reached = await this.spread(image, nodes);
    const left = nodes.filter(({ id }) => !reached.includes(id));
    for (const node of reached) this.#lacking.get(image)?.delete(node);
    if (reached.length > 0) this.#options.onChange(image);
    if (left.length === 0) return;
    const names = left.map(({ name }) => name).join(', ');
    throw new Error(
      `${names}: no endpoint of theirs is configured (swarm.workers) and no registry (swarm.registry); docker save | docker load brings it there`,
    );
  }

  /** Copies an image from the manager to the nodes whose engines can be reached. Returns their ids. */
  async spread(image: string, nodes: readonly Machine[]): Promise<string[]> {
    const { managers, workers, onTrouble } = this.#options;
    const reached: string[] = [];
    for (const worker of workers) {
      try {
        const { node } = await worker.probe();
        const machine = nodes.find(({ name }) => name === node);
        if (!machine || !worker.importImage) continue;
        if (!(await worker.images()).some(({ id }) => id === image)) await copyTo(managers, worker, image);
        reached.push(machine.id);
      } catch (error) {
        onTrouble(`${worker.endpoint}: the image ${image.slice(7, 19)} could not be brought there: ${messageOf(error)}`);
      }
    }
    return reached;
  }

  /** Brings an image by a registry: the manager pushes it, and every node pulls it before a task needs it. */
  async #push(image: string, registry: string): Promise<void> {
    const repository = `${registry}/${image.slice(7, 19)}`;
    const digest = await this.#options.managers.do(
      `push an image to ${registry}`,
      async (docker) => {
        await docker.getImage(image).tag({ repo: repository, tag: 'katafleet' });
        await pushed(docker, `${repository}:katafleet`, registry);
        const { RepoDigests, Architecture } = await docker.getImage(image).inspect();
        const found = RepoDigests.find((one) => one.startsWith(`${repository}@`));
        if (found === undefined) throw new KatafleetError('engine.failed', `${registry} took the image and gave it no digest`);
        return { reference: found, architecture: imageArchitecture(Architecture, image) };
      },
      pushMs,
    );
    const lacking = await this.#options.pull(digest.reference, digest.architecture);
    const known = this.#lacking.get(image) ?? new Map<string, number>();
    const reached = Array.from(known.keys()).filter((node) => !lacking.includes(node));
    // Nodes that have the image by its id are not asked to pull it: they might fail too.
    if (known.size > 0 && reached.length === 0) throw new Error(`no node that lacks it could pull ${digest.reference}`);
    this.#pushed.set(image, digest.reference);
    for (const node of reached) known.delete(node);
    this.#options.onChange(image);
  }
}

async function copyTo(managers: Managers, worker: Driver, image: string): Promise<void> {
  const manager = managers.current;
  if (!manager.exportImage || !worker.importImage) throw new KatafleetError('internal', 'images can be neither exported nor imported');
  const named = (await manager.images()).find(({ id }) => id === image)?.tags.find((tag) => !tag.startsWith('<none>'));
  await worker.importImage(await manager.exportImage(named ?? image));
}

/** @throws engine.failed with the registry's message */
async function pushed(docker: Dockerode, name: string, registry: string): Promise<void> {
  const stream = await docker.getImage(name).push({ authconfig: {} as Dockerode.AuthConfig });
  await new Promise<void>((resolve, reject) => {
    docker.modem.followProgress(
      stream,
      (error: Error | null) => (error ? reject(error) : resolve()),
      ({ error }: { error?: string }) => {
        if (error !== undefined) reject(new KatafleetError('engine.failed', `can't push an image to ${registry}: ${error}`));
      },
    );
  });
}
