import { z } from 'zod';
import { Created, V1ImageConfig, type SavedImage, type V1Layer } from './saved-image.ts';
import { notAnArchive, type ArchiveSpool, type SpooledFile } from './spool.ts';

/** Most layers that Docker 1.6 loads (daemon/graphdriver, MaxImageDepth). */
export const mostLayers = 127;
const mostImages = 1_000;

const Digest = z.string().regex(/^sha256:[0-9a-f]{64}$/);
const Id = z.string().regex(/^[0-9a-f]{64}$/);
const Name = z
  .string()
  .max(400)
  .regex(/^[a-z0-9][a-z0-9._:/-]*:[\w][\w.-]{0,127}$/, 'no repository:tag');

const Manifest = z
  .array(z.object({ Config: z.string(), RepoTags: z.array(Name).nullish(), Layers: z.array(z.string()).nullish() }))
  .min(1)
  .max(mostImages);
const Config = z.object({
  created: Created,
  architecture: z.string().max(64).default('amd64'),
  os: z.literal('linux', { error: 'an image for another system than linux' }).default('linux'),
  config: V1ImageConfig.nullish(),
  rootfs: z.object({ diff_ids: z.array(Digest).nullish() }),
});
const Descriptor = z.object({
  mediaType: z.string().optional(),
  digest: Digest,
  annotations: z.record(z.string(), z.string()).nullish(),
  platform: z.object({ architecture: z.string(), os: z.string() }).nullish(),
});
const Index = z.object({ manifests: z.array(Descriptor).min(1).max(mostImages) });
const OciManifest = z.object({ config: Descriptor, layers: z.array(Descriptor).max(mostLayers) });
const V1Json = z.object({
  id: Id,
  parent: Id.or(z.literal('')).nullish(),
  created: Created,
  architecture: z.string().max(64).optional(),
  os: z.literal('linux', { error: 'an image for another system than linux' }).or(z.literal('')).optional(),
  config: V1ImageConfig.nullish(),
});
const Repositories = z.record(z.string(), z.record(z.string(), Id));

/** Reads an archive of 1.10 or later by its `manifest.json`; undefined if it has none. @throws archive.invalid */
export async function withManifest(spool: ArchiveSpool): Promise<SavedImage[] | undefined> {
  if (!spool.find('manifest.json')) return undefined;
  const entries = await checked(spool, 'manifest.json', Manifest);
  return Promise.all(entries.map(({ Config, RepoTags, Layers }) => image(spool, Config, Layers ?? [], RepoTags ?? [])));
}

/** Reads an OCI layout without manifest.json; undefined if it is none. @throws archive.invalid */
export async function withIndex(spool: ArchiveSpool): Promise<SavedImage[] | undefined> {
  if (!spool.find('index.json')) return undefined;
  const { manifests } = await checked(spool, 'index.json', Index);
  return Promise.all(
    manifests.map(async (descriptor) => {
      const tag = descriptor.annotations?.['io.containerd.image.name'] ?? descriptor.annotations?.['org.opencontainers.image.ref.name'];
      const name = Name.safeParse(tag?.replace(/^docker\.io\/(library\/)?/, ''));
      const { config, layers } = await checked(spool, await manifestOf(spool, descriptor.digest), OciManifest);
      return image(
        spool,
        blob(config.digest),
        layers.map(({ digest }) => blob(digest)),
        name.success ? [name.data] : [],
      );
    }),
  );
}

/** The name of a digest's manifest. If it is an index of platforms, it must have exactly one image of linux. */
async function manifestOf(spool: ArchiveSpool, digest: string): Promise<string> {
  const index = Index.safeParse(await spool.json(verified(spool, digest)));
  if (!index.success) return blob(digest);
  const images = index.data.manifests.filter(({ platform, digest: own }) => platform?.os !== 'unknown' && spool.find(blob(own)));
  const [only, another] = images;
  if (!only || another) throw notAnArchive(`it holds ${images.length} platforms of one image; save it with --platform`);
  return verified(spool, only.digest);
}

const blob = (digest: string) => `blobs/sha256/${digest.slice('sha256:'.length)}`;

function verified(spool: ArchiveSpool, digest: string): string {
  const name = blob(digest);
  if (spool.need(name).packedSha256 !== digest.slice('sha256:'.length)) throw notAnArchive(`${name} does not match its digest`);
  return name;
}

async function image(spool: ArchiveSpool, configName: string, layerNames: readonly string[], names: string[]): Promise<SavedImage> {
  const [, hash] = /([0-9a-f]{64})(?:\.json)?$/.exec(configName) ?? [];
  if (hash !== undefined && spool.need(configName).packedSha256 !== hash) throw notAnArchive(`${configName} does not match its name`);
  const { created, architecture, config, rootfs } = await checked(spool, configName, Config);
  const expected = rootfs.diff_ids ?? [];
  if (expected.length !== layerNames.length)
    throw notAnArchive(`${configName} has ${expected.length} layers, but ${layerNames.length} are listed`);
  bounded(layerNames.length, names[0] ?? configName);
  const layers = await Promise.all(layerNames.map((name, index) => layer(spool, name, expected[index])));
  return { names, created, architecture, config: config ?? {}, layers };
}

async function layer(spool: ArchiveSpool, name: string, diffId: string | undefined): Promise<SpooledFile> {
  const file = spool.need(name);
  if (`sha256:${file.sha256}` === diffId) return file;
  if (await spool.begins(file, Buffer.from([0x28, 0xb5, 0x2f, 0xfd])))
    throw notAnArchive(`its layer ${name} is packed with zstd; save it from an engine that has unpacked it`);
  throw notAnArchive(`its layer ${name} does not match the image's configuration`);
}

function bounded(layers: number, what: string): void {
  if (layers > mostLayers) throw notAnArchive(`${what} has ${layers} layers, at most ${mostLayers} can be loaded by Docker 1.6`);
}

/** Reads the v1 layout, which `docker save` below 1.10 and katafleet itself write. @throws archive.invalid */
export async function withRepositories(spool: ArchiveSpool): Promise<{ layers: Map<string, V1Layer>; names: Map<string, string> }> {
  const layers = new Map<string, V1Layer>();
  for (const name of spool.names()) {
    const [, folder] = /^([0-9a-f]{64})\/json$/.exec(name) ?? [];
    if (folder === undefined) continue;
    const { id, parent, created, architecture, config } = await checked(spool, name, V1Json);
    if (id !== folder) throw notAnArchive(`${name} belongs to the layer ${id}`);
    const file = spool.need(`${id}/layer.tar`);
    layers.set(id, { id, parent: parent || undefined, created, architecture, config: config ?? undefined, file });
  }
  if (layers.size === 0) throw notAnArchive('it holds neither manifest.json nor index.json nor layers');
  for (const { id } of layers.values()) bounded(depth(layers, id), id);
  const names = new Map<string, string>();
  // Every engine writes it last: if it is missing, the archive may be cut off.
  for (const [repository, tags] of Object.entries(await checked(spool, 'repositories', Repositories)))
    for (const [tag, id] of Object.entries(tags)) {
      if (!layers.has(id)) throw notAnArchive(`${repository}:${tag} names a layer that is missing`);
      names.set(parsed(Name, `${repository}:${tag}`, 'repositories'), id);
    }
  return { layers, names };
}

function depth(layers: ReadonlyMap<string, V1Layer>, top: string): number {
  let count = 0;
  for (let id: string | undefined = top; id !== undefined && count <= mostLayers; count++) {
    const found: V1Layer | undefined = layers.get(id);
    if (!found) throw notAnArchive(`the layer ${id} is missing`);
    id = found.parent;
  }
  return count;
}

async function checked<T>(spool: ArchiveSpool, name: string, schema: z.ZodType<T>): Promise<T> {
  return parsed(schema, await spool.json(name), name);
}

function parsed<T>(schema: z.ZodType<T>, value: unknown, name: string): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw notAnArchive(`${name.slice(0, 200)}: ${issue?.path.join('.') ?? ''} ${issue?.message ?? ''}`, result.error);
}
