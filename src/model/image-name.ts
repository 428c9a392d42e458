import { labels } from './labels.ts';

/**
 * The form in which names of images are compared: Docker Hub's prefixes gone, `:latest` where there is neither tag nor
 * digest. An id (`sha256:…`) stays as it is.
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
 * characters. What else is in a name would be read as something else in an engine's address. Source: distribution's reference
 * grammar.
 */
export const isImageName = (name: string): boolean => name.length <= 512 && pattern.test(name);

/**
 * Every canonical name by which an image can be asked for: tags (katafleet's own without their prefix too), digests, its
 * id, and the id's digits whole and as short as `docker images` shows them.
 */
export function imageNames(image: { id: string; tags: readonly string[]; digests: readonly string[] }): string[] {
  const digits = image.id.replace(/^sha256:/, '');
  const tags = image.tags.filter((tag) => !tag.startsWith('<none>')).map(canonicalImage);
  const own = tags.filter((tag) => tag.startsWith('katafleet/')).map((tag) => tag.slice('katafleet/'.length));
  const digests = image.digests.filter((digest) => !digest.startsWith('<none>')).map(canonicalImage);
  return [...tags, ...own, ...digests, image.id, `${digits}:latest`, `${digits.slice(0, 12)}:latest`];
}

/** What an index is made of: an image in a node's list. */
interface Listed {
  id: string;
  tags: readonly string[];
  digests: readonly string[];
  labels: Readonly<Record<string, string>>;
}

/**
 * Names to ids. Where two images answer to one name, the one that has it as a tag wins over katafleet's short names. An image
 * without a tag that another was adapted from has its id still: the engine keeps it for that one, and no longer lists it.
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
