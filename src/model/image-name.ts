import { labels } from './labels.ts';

/**
 * Returns the form in which names of images are compared: without Docker Hub's prefixes, and with `:latest` if there is neither tag
 * nor digest. An id (`sha256:…`) stays as it is.
 */
export function canonicalImage(name: string): string {
  const short = name.replace(/^docker\.io\//, '').replace(/^library\//, '');
  return /[:@][^/]*$/.test(short) ? short : `${short}:latest`;
}

const part = '[a-z0-9]+(?:(?:\\.|_{1,2}|-+)[a-z0-9]+)*';
const host = '(?:[A-Za-z0-9-]+(?:\\.[A-Za-z0-9-]+)*|\\[[0-9A-Fa-f:]+\\])(?::[0-9]+)?';
const pattern = new RegExp(
  `^(?:${host}/)?${part}(?:/${part})*(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@[a-z0-9+._-]+:[0-9a-f]{32,128})?$`,
);

/**
 * Whether Docker could have an image of this name, `[HOST[:PORT]/]REPOSITORY[:TAG][@DIGEST]` or an id, in at most 512
 * characters. Other characters would change the meaning of an engine's URL. Source: distribution's reference
 * grammar.
 */
export const isImageName = (name: string): boolean => name.length <= 512 && pattern.test(name);

/**
 * Returns every canonical name of an image: its tags (katafleet's own also without their prefix), its digests, its id, and the id's
 * digits, all of them or as few as `docker images` shows.
 */
export function imageNames(image: { id: string; tags: readonly string[]; digests: readonly string[] }): string[] {
  const digits = image.id.replace(/^sha256:/, '');
  const tags = image.tags.filter((tag) => !tag.startsWith('<none>')).map(canonicalImage);
  const own = tags.filter((tag) => tag.startsWith('katafleet/')).map((tag) => tag.slice('katafleet/'.length));
  const digests = image.digests.filter((digest) => !digest.startsWith('<none>')).map(canonicalImage);
  return [...tags, ...own, ...digests, image.id, `${digits}:latest`, `${digits.slice(0, 12)}:latest`];
}

/** An image in a node's list, from which an index is made. */
interface Listed {
  id: string;
  tags: readonly string[];
  digests: readonly string[];
  labels: Readonly<Record<string, string>>;
}

/**
 * Maps names to ids. If two images have one name, a tag wins over katafleet's short name. An image without a tag from which another was
 * adapted still has its id: the engine keeps it for the other image, but does not list it.
 */
export function imageIndex(images: readonly Listed[]): Map<string, string> {
  const index = new Map<string, string>();
  for (const { labels: own } of images) {
    const source = own[labels.adaptedFrom];
    if (source !== undefined) for (const name of imageNames({ id: source, tags: [], digests: [] })) index.set(name, source);
  }
  for (const image of images) for (const name of imageNames(image)) index.set(name, image.id);
  for (const image of images) for (const tag of image.tags) index.set(canonicalImage(tag), image.id);
  return index;
}
