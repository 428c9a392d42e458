import { createHash } from 'node:crypto';
import { posix } from 'node:path';
import tar from 'tar-stream';
import { KatafleetError } from '../../model/errors.ts';
import { labels } from '../../model/labels.ts';
import { type Uids, uidsInWords } from '../../model/users.ts';
import { adaptedAccounts } from '../docker/names.ts';
import { supervisorPath } from '../docker/isolation.ts';
import type { SupervisorBinary } from '../docker/supervisor.ts';
import { imageWord } from './flags.ts';
import type { InspectedImage } from './parse/inspect.ts';
import { type Release, since } from './parse/version.ts';
import type { RemoteDocker } from './remote.ts';

/** The images that are known to hold this supervisor. */
export interface Carried {
  holds(image: string, supervisor: SupervisorBinary): Promise<boolean>;
  /** Records that katafleet made the image with this supervisor. */
  made(image: string, supervisor: SupervisorBinary): void;
}

/**
 * Returns an image with the supervisor on top of one that lacks it, and with names for the uids where the supervisor can't write
 * them. It is built once per node. Its tag is a hash of all its parts, but the tag alone proves nothing: `carried` must know that the
 * image holds the supervisor. A build works with every release: below 1.8 docker can't copy a file into a container. Refuses an image
 * with ONBUILD instructions, because the build would run them outside of a sandbox.
 * @throws image.unsuitable, engine.*
 */
export async function adapt(
  remote: RemoteDocker,
  image: InspectedImage,
  supervisor: SupervisorBinary,
  release: Release,
  uids: Uids,
  carried: Carried,
): Promise<InspectedImage> {
  if (image.onBuild.length > 0) {
    throw new KatafleetError(
      'image.unsuitable',
      `the image ${image.tags[0] ?? image.id} has ONBUILD instructions, which ${remote.transport.at} would run when it adds the supervisor`,
      { hint: 'build an image FROM it and use that one, or install the supervisor on the node: scripts/node-setup' },
    );
  }
  const key = createHash('sha256').update(image.id).update(supervisor.sha256).update(uidsInWords(uids)).digest('hex').slice(0, 32);
  const tag = `katafleet/adapted:${key}`;
  const there = async () => (await remote.inspect([tag])).images[0];
  const made = await there();
  if (made !== undefined && (await carried.holds(made.id, supervisor))) return made;
  const names = needsNames(release) ? await namesOf(remote, image, release, uids) : undefined;
  await remote.build(tag, await context(from(image, release), image, supervisor, names));
  const built = await there();
  if (built === undefined) throw new KatafleetError('engine.failed', `${remote.transport.at} built the image ${tag}, but does not list it`);
  carried.made(built.id, supervisor);
  return built;
}

/** Whether the image itself must have the names: since 1.10 the engine mounts the folders, and the supervisor can't write below /etc. */
export const needsNames = (release: Release): boolean => since(release, 1, 10);

async function namesOf(remote: RemoteDocker, image: InspectedImage, release: Release, uids: Uids): Promise<Names> {
  const word = imageWord(image.id, release);
  const accounts = { passwd: await remote.fileOf(word, '/etc/passwd'), group: await remote.fileOf(word, '/etc/group') };
  return adaptedAccounts(accounts, image.labels, uids);
}

type Names = ReturnType<typeof adaptedAccounts>;

/** What FROM names. The builder of 23.0 and later takes an id for a name in a registry, so it needs a name. */
function from(image: InspectedImage, release: Release): string {
  if (!since(release, 23, 0)) return imageWord(image.id, release).replace(/^sha256:/, '');
  const name = image.tags.find((tag) => !tag.startsWith('<none>'));
  if (name !== undefined) return name;
  throw new KatafleetError(
    'image.unknown',
    `the image ${image.id} has no name, and Docker ${release.join('.')} builds FROM named images only`,
    {
      hint: 'give it a name on the node: docker tag',
    },
  );
}

/**
 * The build's context as an uncompressed tar, which needs no program on the node. What is added is a tar within it that begins with
 * the folder: ADD unpacks it and replaces what the image has there, where COPY would follow a link of the image.
 */
async function context(base: string, image: InspectedImage, supervisor: SupervisorBinary, names?: Names): Promise<Buffer> {
  const said = { [labels.supervisor]: supervisor.sha256, [labels.adaptedFrom]: image.id, ...names?.labels };
  const accounts = (['passwd', 'group'] as const).filter((file) => names?.[file] !== undefined);
  const lines = [
    `FROM ${base}`,
    'ADD layer.tar /',
    `LABEL ${Object.entries(said)
      .map(([label, value]) => `${label}=${value}`)
      .join(' ')}`,
  ];
  const layer = await packed([
    { name: `${posix.dirname(supervisorPath).slice(1)}/`, type: 'directory', mode: 0o755 },
    { name: supervisorPath.slice(1), mode: 0o555, content: supervisor.bytes },
    ...accounts.map((file) => ({ name: `etc/${file}`, mode: 0o644, content: names?.[file] ?? '' })),
  ]);
  return packed([
    { name: 'Dockerfile', mode: 0o644, content: `${lines.join('\n')}\n` },
    { name: 'layer.tar', mode: 0o644, content: layer },
  ]);
}

interface TarEntry {
  name: string;
  mode: number;
  type?: 'directory';
  content?: Buffer | string;
}

async function packed(entries: readonly TarEntry[]): Promise<Buffer> {
  const pack = tar.pack();
  for (const { content, ...entry } of entries) {
    const header = { ...entry, uid: 0, gid: 0, mtime: new Date(0) };
    if (content === undefined) pack.entry(header);
    else pack.entry(header, content);
  }
  pack.finalize();
  const parts: Buffer[] = [];
  for await (const part of pack) parts.push(part as Buffer);
  return Buffer.concat(parts);
}
