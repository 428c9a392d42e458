/**
 * The form in which names of images are compared: Docker Hub's prefixes gone, `:latest` where there is neither tag nor
 * digest. An id (`sha256:…`) stays as it is.
 */
export function canonicalImage(name: string): string {
  const short = name.replace(/^docker\.io\//, '').replace(/^library\//, '');
  return /[:@][^/]*$/.test(short) ? short : `${short}:latest`;
}

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

/** Names to ids. Where two images answer to one name, the one that has it as a tag wins over katafleet's short names. */
export function imageIndex(images: readonly { id: string; tags: readonly string[]; digests: readonly string[] }[]): Map<string, string> {
  const index = new Map<string, string>();
  for (const image of images) for (const name of imageNames(image)) index.set(name, image.id);
  for (const image of images) for (const tag of image.tags) index.set(canonicalImage(tag), image.id);
  return index;
}
