import { Readable } from 'node:stream';
import { GiB } from '../../../base/units.ts';
import { KatafleetError } from '../../../model/errors.ts';
import { withIndex, withManifest, withRepositories } from './layouts.ts';
import type { V1Layer } from './saved-image.ts';
import { type ArchiveBounds, ArchiveSpool } from './spool.ts';
import { chainOf, sizeOfV1, type V1Archive, writeV1 } from './v1.ts';

/** An archive that Docker 1.6 can load. Disposing it removes its temporary folder, read or not. */
export interface ConvertedArchive extends AsyncDisposable {
  /** Can be read once, and not after disposal. */
  archive: Readable;
  /** Bytes of it. */
  size: number;
  /** The first image's id as Docker 1.6's `inspect` shows it: 64 digits without `sha256:`. */
  id: string;
  /** The first image's names, `repository:tag`. */
  names: readonly string[];
  /** All of its images. */
  images: readonly { id: string; names: readonly string[] }[];
}

/**
 * Converts the archive of any engine's `docker save` to the layout that Docker 1.6 loads: `repositories`, and for each layer a
 * folder with `VERSION`, `json` and `layer.tar`. It reads the v1 layout (below 1.10; ids are kept), manifest.json beside
 * folders of layers (1.10 to 24) or beside OCI blobs (since 25), and bare OCI layouts. It unpacks gzip layers and checks all layers against
 * the image's own hashes. The whole archive is read into a temporary folder, as large as the image, before the first byte
 * comes out. Later engines load the result too, under another id.
 * @throws archive.invalid, archive.too_large, spool.no_space, what the archive's stream throws
 */
export async function toV1Archive(
  archive: Readable,
  { bounds = { bytes: 64 * GiB, entries: 10_000 }, signal }: { bounds?: ArchiveBounds; signal?: AbortSignal } = {},
): Promise<ConvertedArchive> {
  const spool = await ArchiveSpool.of(archive, bounds, signal);
  try {
    const v1 = await read(spool);
    const images = imagesOf(v1);
    const [first] = images;
    if (!first) throw new KatafleetError('archive.invalid', 'the archive has no image');
    const dispose = () => spool[Symbol.asyncDispose]();
    return {
      archive: Readable.from(writeV1(v1), { objectMode: false }),
      size: sizeOfV1(v1),
      ...first,
      images,
      [Symbol.asyncDispose]: dispose,
    };
  } catch (error) {
    await spool[Symbol.asyncDispose]();
    throw error;
  }
}

async function read(spool: ArchiveSpool): Promise<V1Archive> {
  const saved = (await withManifest(spool)) ?? (await withIndex(spool));
  if (!saved) return withRepositories(spool);
  const layers = new Map<string, V1Layer>();
  const names = new Map<string, string>();
  const empty = await spool.add(Buffer.alloc(1_024)); // a tar without entries
  for (const image of saved) {
    const chain = chainOf(image, empty);
    for (const layer of chain) layers.set(layer.id, layer);
    const top = chain.at(-1);
    for (const name of image.names) if (top) names.set(name, top.id);
  }
  return { layers, names };
}

/** The images of an archive: layers with a name, and layers without a child. In the order of their names, nameless ones last. */
function imagesOf({ layers, names }: V1Archive): { id: string; names: string[] }[] {
  const parents = new Set(Array.from(layers.values(), ({ parent }) => parent));
  const byId = new Map<string, string[]>();
  for (const [name, id] of Array.from(names).sort(([a], [b]) => (a < b ? -1 : 1))) byId.set(id, [...(byId.get(id) ?? []), name]);
  for (const id of layers.keys()) if (!parents.has(id) && !byId.has(id)) byId.set(id, []);
  return Array.from(byId, ([id, own]) => ({ id, names: own }));
}
