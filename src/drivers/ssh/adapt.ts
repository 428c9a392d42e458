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

/** Which images hold a supervisor that is known to be this one. */
export interface Carried {
  holds(image: string, supervisor: SupervisorBinary): Promise<boolean>;
  /** That an image was made here, with this supervisor. */
  made(image: string, supervisor: SupervisorBinary): void;
}

/**
 * An image with the supervisor on top of one that lacks it, and names for the uids where no supervisor can bring them, made
 * once per node: its tag is a function of all, and is believed where what it names is known to hold the supervisor. Docker has no way to put a file into a container below 1.8, and a build works
 * with all. An image whose own instructions such a build would run is refused: they would run outside of any sandbox.
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
      `the image ${image.tags[0] ?? image.id} has ONBUILD instructions, which adding the supervisor on ${remote.transport.at} would run`,
      { hint: 'build an image FROM it, which has them behind it, or install the supervisor on the node: scripts/node-setup' },
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
  if (built === undefined) throw new KatafleetError('engine.failed', `${remote.transport.at} has built ${tag} and doesn't have it`);
  carried.made(built.id, supervisor);
  return built;
}

/** Where the engine mounts the folders the supervisor can't mount, and the image itself has to have the names. */
export const needsNames = (release: Release): boolean => since(release, 1, 10);

async function namesOf(remote: RemoteDocker, image: InspectedImage, release: Release, uids: Uids): Promise<Names> {
  const word = imageWord(image.id, release);
  const accounts = { passwd: await remote.fileOf(word, '/etc/passwd'), group: await remote.fileOf(word, '/etc/group') };
  return adaptedAccounts(accounts, image.labels, uids);
}

type Names = ReturnType<typeof adaptedAccounts>;

/** The builder of 23.0 and later takes an id for a name in a registry: there a name is needed. */
function from(image: InspectedImage, release: Release): string {
  if (!since(release, 23, 0)) return imageWord(image.id, release).replace(/^sha256:/, '');
  const name = image.tags.find((tag) => !tag.startsWith('<none>'));
  if (name !== undefined) return name;
  throw new KatafleetError('image.unknown', `the image ${image.id} has no name, and this docker builds on names only`, {
    hint: 'docker tag it on the node',
  });
}

/**
 * A plain tar: nothing on the node unpacks a compressed one. What is added is a tar in it, its folder first: unpacked, it takes
 * the place of whatever the image has there, where COPY would follow a link of the image's.
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
