import PQueue from 'p-queue';
import type { FleetImage } from '../../model/fleet-image.ts';
import { canonicalImage } from '../../model/image-name.ts';
import { KatafleetError } from '../../model/errors.ts';
import type { NodeImage } from '../../drivers/contract.ts';
import { copyImage, type CopyOptions } from './copy.ts';
import type { Node } from '../node/node.ts';

/** Which node has which image, by tag. Leaves out adapted images, which are internal to katafleet. */
export function fleetImages(nodes: readonly Node[], cordoned: (name: string) => boolean, copy: boolean): FleetImage[] {
  const byName = new Map<string, { images: NodeImage[]; have: Set<string>; architectures: Set<string> }>();
  for (const node of nodes) {
    for (const image of node.sandboxes.images) {
      const tags = image.tags.filter((tag) => !tag.startsWith('<none>') && !tag.startsWith('katafleet/adapted:'));
      for (const tag of tags) {
        const name = canonicalImage(tag);
        const entry = byName.get(name) ?? { images: [], have: new Set(), architectures: new Set() };
        entry.images.push(image);
        entry.have.add(node.settings.name);
        if (node.fingerprint) entry.architectures.add(node.fingerprint.architecture);
        byName.set(name, entry);
      }
    }
  }
  return Array.from(byName, ([name, { images, have, architectures }]) => {
    const sorted: Pick<FleetImage, 'ready' | 'waiting' | 'obtainable' | 'unable'> = { ready: [], waiting: [], obtainable: [], unable: [] };
    for (const { settings, state, fingerprint, driver } of nodes) {
      const node = settings.name;
      const usable = state === 'ready' && !cordoned(node);
      const unable = (why: string) => sorted.unable.push({ node, why });
      if (have.has(node)) sorted[usable ? 'ready' : 'waiting'].push(node);
      else if (!fingerprint) unable('it has not answered yet');
      else if (!architectures.has(fingerprint.architecture)) unable(`its architecture is ${fingerprint.architecture}`);
      else if (!copy || !driver.importImage) unable('images are not copied to it');
      else if (!usable) unable(state === 'ready' ? 'it is cordoned' : `it is ${state}`);
      else sorted.obtainable.push(node);
    }
    const ids = [...new Set(images.map(({ id }) => id))];
    const [first] = images;
    return { name, ids, size: Math.max(...images.map(({ size }) => size)), labels: first?.labels ?? {}, ...sorted };
  }).sort((a, b) => (a.name < b.name ? -1 : 1));
}

export interface BringOptions extends CopyOptions {
  /** The node to copy from; if absent, the first ready node that has the image. */
  from?: Node;
}

/** How many sources are tried in turn if the caller names no source. */
const mostSources = 3;

/** Copies images to nodes that lack them. Copies an image to a node only once at a time, and to each node one image after another. */
export class ImageCopies {
  readonly #underWay = new Map<string, Promise<void>>();
  readonly #queues = new Map<string, PQueue>();

  /**
   * Resolves when the node has the image. A second caller waits for the copy under way, and does not see its progress.
   * @throws image.unknown if no ready node of its architecture has it; what {@link copyImage} throws
   */
  bring(image: string, to: Node, nodes: readonly Node[], options: BringOptions = {}): Promise<void> {
    const node = to.settings.name;
    const key = JSON.stringify([image, node]);
    let copy = this.#underWay.get(key);
    if (!copy) {
      let queue = this.#queues.get(node);
      if (!queue) this.#queues.set(node, (queue = new PQueue({ concurrency: 1 })));
      copy = queue.add(() => this.#copy(image, to, nodes, options)).finally(() => this.#underWay.delete(key));
      this.#underWay.set(key, copy);
    }
    return copy;
  }

  async #copy(image: string, to: Node, nodes: readonly Node[], { from, ...options }: BringOptions): Promise<void> {
    if (to.sandboxes.imageId(image) !== undefined) return;
    const sources = from ? [from] : nodes.filter((node) => hands(node, image, to.fingerprint?.architecture));
    let failure = new KatafleetError('image.unknown', `no ready node of ${to.settings.name}'s architecture has the image ${image}`);
    for (const { sandboxes, driver } of sources.slice(0, mostSources)) {
      const found = sandboxes.images.find(({ id }) => id === sandboxes.imageId(image));
      const tag = found?.tags.find((candidate) => [image, `katafleet/${image}`].includes(canonicalImage(candidate)));
      try {
        await copyImage(tag ?? found?.tags[0] ?? found?.id ?? image, driver, to.driver, options);
        await to.sandboxes.refreshImages();
        return;
      } catch (error) {
        if (!(error instanceof KatafleetError) || error.code === 'engine.disk_full') throw error;
        failure = error;
      }
    }
    throw failure;
  }
}

/** Whether a node can export an image for an architecture. */
function hands({ state, fingerprint, sandboxes, driver }: Node, image: string, architecture: string | undefined): boolean {
  return (
    state === 'ready' &&
    fingerprint?.architecture === architecture &&
    sandboxes.imageId(image) !== undefined &&
    driver.exportImage !== undefined
  );
}
