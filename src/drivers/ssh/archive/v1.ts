import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import tar from 'tar-stream';
import { KiB } from '../../../base/units.ts';
import type { SavedImage, V1Layer } from './saved-image.ts';
import type { SpooledFile } from './spool.ts';

/** Layers of a v1 archive by their ids, parents before children, and the layer of each name. */
export interface V1Archive {
  layers: ReadonlyMap<string, V1Layer>;
  /** From `repository:tag` to the id of its top layer. */
  names: ReadonlyMap<string, string>;
}

const epoch = '1970-01-01T00:00:00Z';

/**
 * The chain of layers that is an image to Docker 1.6; the top layer has the image's configuration. An id is a hash of its layer and
 * all below: an image has the same ids whichever engine saved it, and images share their common layers. `empty` is the layer of an
 * image that has none, because 1.6 needs one.
 */
export function chainOf(image: SavedImage, empty: SpooledFile): V1Layer[] {
  const files = image.layers.length > 0 ? image.layers : [empty];
  const { architecture, created, config } = image;
  const chain: V1Layer[] = [];
  for (const [index, file] of files.entries()) {
    const parent = chain.at(-1)?.id;
    const own = index === files.length - 1 ? { created, config } : { created: epoch, config: undefined };
    const meant = JSON.stringify(['katafleet v1 layer', parent ?? null, file.sha256, architecture, own.created, own.config ?? null]);
    chain.push({ id: createHash('sha256').update(meant).digest('hex'), parent, architecture, file, ...own });
  }
  return chain;
}

/** Size of the archive that {@link writeV1} writes, bytes. */
export function sizeOfV1({ layers, names }: V1Archive): number {
  const entry = (size: number) => 512 + Math.ceil(size / 512) * 512;
  let size = entry(repositories(names).length) + 1_024;
  for (const layer of layers.values()) size += 512 + entry(3) + entry(json(layer).length) + entry(layer.file.size);
  return size;
}

/** Writes the archive as Docker 1.6 reads it (moby graph/load.go at v1.6.2). The same input gives the same bytes. */
export async function* writeV1({ layers, names }: V1Archive): AsyncGenerator<Buffer> {
  const pack = tar.pack();
  const mtime = new Date(0);
  const small = (name: string, bytes: Buffer) => pack.entry({ name, mode: 0o644, mtime }, bytes);
  const write = async () => {
    for (const layer of layers.values()) {
      pack.entry({ name: `${layer.id}/`, type: 'directory', mode: 0o755, mtime });
      small(`${layer.id}/VERSION`, Buffer.from('1.0'));
      small(`${layer.id}/json`, json(layer));
      const entry = pack.entry({ name: `${layer.id}/layer.tar`, mode: 0o644, mtime, size: layer.file.size });
      await pipeline(createReadStream(layer.file.path, { highWaterMark: 256 * KiB }), entry);
    }
    small('repositories', repositories(names));
    pack.finalize();
  };
  write().catch((error: unknown) => pack.destroy(error instanceof Error ? error : new Error(String(error))));
  yield* pack as AsyncIterable<Buffer>;
}

function json({ id, parent, created, architecture, config }: V1Layer): Buffer {
  return Buffer.from(
    JSON.stringify({
      id,
      ...(parent === undefined ? {} : { parent }),
      created,
      ...(config ? { config } : {}),
      ...(architecture === undefined ? {} : { architecture }),
      os: 'linux',
    }),
  );
}

function repositories(names: ReadonlyMap<string, string>): Buffer {
  const byRepository: Record<string, Record<string, string>> = {};
  for (const [name, id] of Array.from(names).sort(([a], [b]) => (a < b ? -1 : 1))) {
    const colon = name.lastIndexOf(':');
    (byRepository[name.slice(0, colon)] ??= {})[name.slice(colon + 1)] = id;
  }
  return Buffer.from(JSON.stringify(byRepository));
}
