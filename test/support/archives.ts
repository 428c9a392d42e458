import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { gzipSync } from 'node:zlib';
import tar from 'tar-stream';

/** An image as test data: the content of its layers, lowest first, and its configuration. */
export interface ImageSketch {
  name: string;
  layers: readonly Buffer[];
  config: Record<string, unknown>;
  /** Whether the archive has its layers compressed. */
  gzip?: boolean;
}

export const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

export type Entries = readonly [name: string, content: Buffer | string | { link: string }][];

/** Returns a tar of exactly these entries, in this order. */
export async function tarOf(entries: Entries): Promise<Buffer> {
  const pack = tar.pack();
  for (const [name, content] of entries) {
    if (typeof content === 'object' && 'link' in content) pack.entry({ name, type: 'symlink', linkname: content.link });
    else pack.entry({ name, type: name.endsWith('/') ? 'directory' : 'file' }, content);
  }
  pack.finalize();
  return bytesOf(pack);
}

export async function bytesOf(stream: AsyncIterable<unknown>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

/** Returns the content of each file of a tar by its name. */
export async function entriesOf(archive: Buffer): Promise<Map<string, Buffer>> {
  const entries = new Map<string, Buffer>();
  const extract = tar.extract();
  Readable.from([archive]).pipe(extract);
  for await (const entry of extract) entries.set(entry.header.name, await bytesOf(entry));
  return entries;
}

const json = (value: unknown) => Buffer.from(JSON.stringify(value));

function configOf({ layers, config }: ImageSketch): Buffer {
  return json({
    architecture: 'amd64',
    os: 'linux',
    created: '2024-05-06T07:08:09.123456789Z',
    config,
    rootfs: { type: 'layers', diff_ids: layers.map((layer) => `sha256:${sha256(layer)}`) },
    history: layers.map((_, index) => ({ created_by: `step ${index}` })),
  });
}

/** Returns the archive as `docker save` of 1.10 to 24 writes it: folders of layers with files of the v1 layout, manifest.json last. */
export function savedBy20(...images: readonly ImageSketch[]): Entries {
  const entries = new Map<string, Entries[number][1]>();
  const manifest = images.map((image, number) => {
    const config = configOf(image);
    entries.set(`${sha256(config)}.json`, config);
    const Layers = image.layers.map((layer, index) => {
      const id = sha256(json([number, index, sha256(layer)]));
      entries.set(`${id}/`, '');
      entries.set(`${id}/VERSION`, '1.0');
      entries.set(`${id}/json`, json({ id }));
      entries.set(`${id}/layer.tar`, layer);
      return `${id}/layer.tar`;
    });
    return { Config: `${sha256(config)}.json`, RepoTags: [image.name], Layers };
  });
  return [...entries, ['manifest.json', json(manifest)]];
}

/** Returns the archive as `docker save` since 25 writes it: an OCI layout, and a manifest.json that points into it. */
export function savedBy25(...images: readonly ImageSketch[]): Entries {
  const blobs = new Map<string, Buffer>();
  const add = (bytes: Buffer) => {
    blobs.set(`blobs/sha256/${sha256(bytes)}`, bytes);
    return { digest: `sha256:${sha256(bytes)}`, size: bytes.length };
  };
  const manifests: object[] = [];
  const manifest = images.map((image) => {
    const config = { mediaType: 'application/vnd.oci.image.config.v1+json', ...add(configOf(image)) };
    const mediaType = `application/vnd.oci.image.layer.v1.tar${image.gzip ? '+gzip' : ''}`;
    const layers = image.layers.map((layer) => ({ mediaType, ...add(image.gzip ? gzipSync(layer) : layer) }));
    const own = add(json({ schemaVersion: 2, mediaType: 'application/vnd.oci.image.manifest.v1+json', config, layers }));
    const annotations = { 'io.containerd.image.name': `docker.io/${image.name}` };
    manifests.push({ mediaType: 'application/vnd.oci.image.manifest.v1+json', ...own, annotations });
    const path = ({ digest }: { digest: string }) => `blobs/sha256/${digest.slice(7)}`;
    return { Config: path(config), RepoTags: [image.name], Layers: layers.map(path) };
  });
  return [
    ['blobs/', ''],
    ['blobs/sha256/', ''],
    ...blobs,
    ['index.json', json({ schemaVersion: 2, manifests })],
    ['manifest.json', json(manifest)],
    ['oci-layout', json({ imageLayoutVersion: '1.0.0' })],
  ];
}

/** Returns the archive as `docker save` of 1.6 writes it: random ids, and a configuration on each layer. */
export function savedBy16({ name, layers, config }: ImageSketch): { entries: Entries; ids: string[] } {
  const ids = layers.map((layer, index) => sha256(json(['random', index, sha256(layer)])));
  const entries = ids.flatMap((id, index): Entries => {
    const parent = ids[index - 1];
    const own = { id, ...(parent ? { parent } : {}), created: '2015-04-01T00:00:00Z', container_config: { Cmd: ['x'] }, config, Size: 7 };
    return [
      [`${id}/`, ''],
      [`${id}/VERSION`, '1.0'],
      [`${id}/json`, json({ ...own, architecture: 'amd64', os: 'linux', docker_version: '1.6.2' })],
      [`${id}/layer.tar`, layers[index] ?? ''],
    ];
  });
  const colon = name.lastIndexOf(':');
  return { ids, entries: [...entries, ['repositories', json({ [name.slice(0, colon)]: { [name.slice(colon + 1)]: ids.at(-1) } })]] };
}
