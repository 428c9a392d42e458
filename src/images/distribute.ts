import { KatafleetError } from '../model/errors.ts';
import { canonicalImage, imageIndex } from '../model/image-name.ts';
import { labels } from '../model/labels.ts';
import type { NodeImage } from '../drivers/contract.ts';

/** The facts of a node that decide whether it receives images, or sends them. */
export interface ReceivingNode {
  name: string;
  ready: boolean;
  /** Why the node is not ready. */
  trouble: string;
  architecture: string | undefined;
  images: readonly NodeImage[];
  exports: boolean;
  imports: boolean;
}

export interface Wish {
  /** Names of images as users write them; if empty, all images of recipes for runs. */
  images: readonly string[];
  /** Names of the target nodes; if empty, all. */
  to: readonly string[];
}

/** What happens with one image on one node, and why. */
export type PlannedStep = { image: string; node: string } & (
  | {
      kind: 'bring';
      /** Names of the nodes that have it now. */
      from: readonly string[];
      architecture: string | undefined;
      /** About the size of its archive; 0 if unknown. */
      bytes: number;
      /** Whether the image can be copied from the node once it is there. */
      handsOn: boolean;
    }
  | { kind: 'keep'; why: string }
  /** It does not fit the node, and the user did not name the node. */
  | { kind: 'leave'; why: string }
  | { kind: 'unable'; why: string }
);

/** Decides which node gets which image and from where, or why it does not. @throws node.unknown, image.unknown */
export function planDistribution(nodes: readonly ReceivingNode[], wish: Wish): PlannedStep[] {
  const views = nodes.map((node) => ({ ...node, index: imageIndex(node.images) }));
  const unknown = wish.to.filter((name) => !nodes.some((node) => node.name === name));
  if (unknown.length > 0) {
    const known = nodes.map(({ name }) => name).join(', ');
    throw new KatafleetError('node.unknown', `no node ${unknown.map((name) => `"${name}"`).join(', ')}; there are: ${known}`);
  }
  const targets = wish.to.length === 0 ? views : views.filter(({ name }) => wish.to.includes(name));
  return wanted(views, wish.images).flatMap((image) => {
    const having = views.flatMap(({ index, images, ...view }) => {
      const found = images.find(({ id }) => id === index.get(image));
      return found ? [{ ...view, found }] : [];
    });
    return targets.map((node): PlannedStep => ({ image, node: node.name, ...stepFor(node, having, wish.to.length > 0) }));
  });
}

/**
 * Corrects the bytes of a plan's copies. A source may know that its archive differs in size from the image; it is asked, and need not
 * know.
 */
export async function measured(
  plan: readonly PlannedStep[],
  archiveBytes: (image: string, from: string) => Promise<number | undefined>,
): Promise<PlannedStep[]> {
  const asked = new Map<string, Promise<number | undefined>>();
  return Promise.all(
    plan.map(async (step) => {
      const [from] = step.kind === 'bring' ? step.from : [];
      if (step.kind !== 'bring' || from === undefined) return step;
      const key = JSON.stringify([step.image, from]);
      // The size is for the progress only, so a failure to get it does not stop the copy. If the source is at fault, the copy will fail
      // too.
      const bytes = asked.get(key) ?? archiveBytes(step.image, from).catch(() => 0);
      asked.set(key, bytes);
      return { ...step, bytes: (await bytes) ?? step.bytes };
    }),
  );
}

type Having = Omit<ReceivingNode, 'images'> & { found: NodeImage };
type NodeStep = PlannedStep extends infer S ? (S extends PlannedStep ? Omit<S, 'image' | 'node'> : never) : never;

function stepFor(node: ReceivingNode, having: readonly Having[], named: boolean): NodeStep {
  const own = having.find(({ name }) => name === node.name);
  const sources = having.filter(({ ready, exports, architecture }) => ready && exports && architecture === node.architecture);
  if (own) {
    const others = sources.filter(({ found }) => !sameBuild(found, own.found)).map(({ name }) => name);
    return {
      kind: 'keep',
      why: others.length === 0 ? 'it has it' : `it has another build than ${others.join(', ')}: remove that build first`,
    };
  }
  if (!node.ready) return { kind: 'unable', why: node.trouble };
  if (!node.imports) return { kind: 'unable', why: 'images can’t be copied to it' };
  const [best] = sources;
  if (best) {
    const { architecture, exports: handsOn } = node;
    return { kind: 'bring', from: sources.map(({ name }) => name), architecture, bytes: best.found.size, handsOn };
  }
  const architectures = [...new Set(having.map(({ architecture }) => architecture ?? 'unknown'))].join(', ');
  if (having.some(({ architecture }) => architecture === node.architecture)) {
    return {
      kind: 'unable',
      why: `no ready node from which images can be copied has it: only ${having.map(({ name }) => name).join(', ')}`,
    };
  }
  return { kind: named ? 'unable' : 'leave', why: `the node is ${node.architecture ?? 'unknown'}, the image ${architectures}` };
}

/** Compares the recipes' hashes if both images have one, else the ids. Docker 1.6's ids cannot be compared with those of later versions. */
function sameBuild(a: NodeImage, b: NodeImage): boolean {
  const [one, other] = [a.labels[labels.recipeHash], b.labels[labels.recipeHash]];
  if (one !== undefined && other !== undefined) return one === other;
  return a.id === b.id || !a.id.startsWith('sha256:') || !b.id.startsWith('sha256:');
}

/** Returns the canonical tags of the wanted images, sorted. */
function wanted(views: readonly (ReceivingNode & { index: Map<string, string> })[], names: readonly string[]): string[] {
  const tags = new Set<string>();
  if (names.length === 0) {
    for (const image of views.flatMap(({ images }) => images))
      if (labels.recipe in image.labels && !(labels.service in image.labels))
        for (const tag of named(image.tags)) if (tag.startsWith('katafleet/')) tags.add(tag);
    return [...tags].sort();
  }
  for (const name of names) {
    const asked = canonicalImage(name);
    const found = views.flatMap(({ images, index }) => images.filter(({ id }) => id === index.get(asked)));
    const all = found.flatMap((image) => named(image.tags));
    const [first] = all;
    if (first === undefined) {
      throw new KatafleetError('image.unknown', `no node has an image with the name "${name}"`, {
        hint: `katafleet images --all shows all images; if ${name} is a recipe, build it: katafleet images build ${name}`,
      });
    }
    tags.add(all.find((tag) => tag === asked || tag === `katafleet/${asked}`) ?? first);
  }
  return [...tags].sort();
}

const named = (tags: readonly string[]) =>
  tags.filter((tag) => !tag.startsWith('<none>') && !tag.startsWith('katafleet/adapted:')).map(canonicalImage);
