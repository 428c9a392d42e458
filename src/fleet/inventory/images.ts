import { abortable } from '../../base/deadline.ts';
import type { FleetImage } from '../../model/fleet-image.ts';
import { canonicalImage } from '../../model/image-name.ts';
import { KatafleetError } from '../../model/errors.ts';
import type { NodeImage } from '../../drivers/contract.ts';
import { copyImage, type CopyOptions } from './copy.ts';
import { CopyTurns } from './copy-turns.ts';
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
  /** The node to copy from, whose turn the caller has taken; if absent, a ready node that has the image, in its turn. */
  from?: Node;
}

/** How many sources are tried in turn if the caller names no source. */
const mostSources = 3;

/** A copy that is planned or under way. */
interface Copy {
  done: Promise<void>;
  waiters: number;
  begun: boolean;
  /** Drops the copy if it has not begun. */
  drop: AbortController;
}

/** Copies images to nodes that lack them. Copies an image to a node only once at a time; {@link CopyTurns} plans which copy goes next. */
export class ImageCopies {
  readonly turns: CopyTurns;
  readonly #underWay = new Map<string, Copy>();

  constructor(turns = new CopyTurns()) {
    this.turns = turns;
  }

  /** Whether the image is being copied to the node, or is to be. */
  plans(image: string, node: string): boolean {
    return this.#underWay.has(JSON.stringify([image, node]));
  }

  /**
   * Resolves when the node has the image. A second caller waits for the copy under way, and does not see its progress. The signal ends
   * the caller's wait: a copy that others wait for, or that has begun, goes on.
   * @throws image.unknown if no ready node of its architecture has it; what {@link copyImage} throws; the signal's reason
   */
  async bring(image: string, to: Node, nodes: () => readonly Node[], options: BringOptions = {}): Promise<void> {
    const { signal } = options;
    signal?.throwIfAborted();
    const key = JSON.stringify([image, to.settings.name]);
    let copy = this.#underWay.get(key);
    if (!copy) {
      const made: Copy = { done: Promise.resolve(), waiters: 0, begun: false, drop: new AbortController() };
      const forget = () => {
        if (this.#underWay.get(key) === made) this.#underWay.delete(key);
      };
      this.#underWay.set(key, made);
      made.done = this.#copy(image, to, nodes, options, made).finally(forget);
      made.done.catch(() => undefined);
      copy = made;
    }
    copy.waiters += 1;
    try {
      await abortable(signal, copy.done);
    } finally {
      copy.waiters -= 1;
      if (copy.waiters === 0 && !copy.begun) {
        if (this.#underWay.get(key) === copy) this.#underWay.delete(key);
        copy.drop.abort(new Error('nobody waits for the copy any more'));
      }
    }
  }

  async #copy(
    image: string,
    to: Node,
    nodes: () => readonly Node[],
    { from, signal, ...options }: BringOptions,
    copy: Copy,
  ): Promise<void> {
    if (to.sandboxes.imageId(image) !== undefined) return;
    if (from) {
      copy.begun = true;
      await send(image, from, to, { ...options, signal });
      return;
    }
    const architecture = to.fingerprint?.architecture;
    const failed = new Set<string>();
    const sources = () => nodes().filter((node) => !failed.has(node.settings.name) && hands(node, image, architecture));
    let failure = new KatafleetError('image.unknown', `no ready node of ${to.settings.name}'s architecture has the image ${image}`);
    while (failed.size < mostSources) {
      const turn = await this.turns.take(to.settings.name, () => sources().map(({ settings }) => settings.name), {
        signal: copy.drop.signal,
      });
      if (!turn) break;
      copy.begun = true;
      try {
        if (to.sandboxes.imageId(image) !== undefined) return;
        const source = sources().find(({ settings }) => settings.name === turn.from);
        if (source) await send(image, source, to, options);
        if (source) return;
      } catch (error) {
        if (!(error instanceof KatafleetError) || error.code === 'engine.disk_full') throw error;
        failure = error;
      } finally {
        turn.done();
      }
      failed.add(turn.from);
    }
    throw failure;
  }
}

async function send(image: string, { sandboxes, driver }: Node, to: Node, options: CopyOptions): Promise<void> {
  const found = sandboxes.images.find(({ id }) => id === sandboxes.imageId(image));
  const tag = found?.tags.find((candidate) => [image, `katafleet/${image}`].includes(canonicalImage(candidate)));
  await copyImage(tag ?? found?.tags[0] ?? found?.id ?? image, driver, to.driver, options);
  await to.sandboxes.refreshImages();
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
