import { createHash } from 'node:crypto';
import type { Readable } from 'node:stream';
import type Dockerode from 'dockerode';
import tar from 'tar-stream';
import { MiB } from '../../base/units.ts';
import { KatafleetError } from '../../model/errors.ts';
import { labels } from '../../model/labels.ts';
import { type Uids, uidsInWords } from '../../model/users.ts';
import { type Accounts, adaptedAccounts } from '../docker/names.ts';
import type { SupervisorBinary } from '../docker/supervisor.ts';
import { isStatus } from '../docker/errors.ts';
import { inspectImage } from '../docker/inspect.ts';
import { withHelper, onlyFile, type SupervisorImages } from './carried.ts';

/** Largest passwd or group file of an image (bytes); a larger file is ignored. */
const mostAccounts = MiB;

/**
 * Adds one layer to an image that lacks the supervisor: the supervisor, and names for the uids. Makes the adapted image once per node:
 * its tag depends on all inputs, so a second call finds it. Others can make this tag too, so only its bytes count.
 * @throws image.unsuitable if a volume of the image covers the supervisor
 */
export async function adapt(
  docker: Dockerode,
  image: Dockerode.ImageInspectInfo,
  supervisor: SupervisorBinary,
  uids: Uids,
  carried: SupervisorImages,
): Promise<Dockerode.ImageInspectInfo> {
  const key = createHash('sha256').update(image.Id).update(supervisor.sha256).update(uidsInWords(uids)).digest('hex').slice(0, 32);
  const [repo, tag] = ['katafleet/adapted', key];
  const there = await inspectImage(docker, `${repo}:${tag}`);
  if (there && (await carried.holds(docker, there.Id, supervisor))) return there;
  const id = await withSupervisor(docker, image, supervisor, uids, { repo, tag });
  if (await carried.holds(docker, id, supervisor)) return docker.getImage(id).inspect();
  throw new KatafleetError('image.unsuitable', `the supervisor can't be put into the image ${image.Id}: a volume of the image covers it`, {
    hint: 'build it without a VOLUME at /.katafleet',
  });
}

/** Builds the adapted image and returns its id. */
async function withSupervisor(
  docker: Dockerode,
  image: Dockerode.ImageInspectInfo,
  supervisor: SupervisorBinary,
  uids: Uids,
  name: { repo: string; tag: string },
): Promise<string> {
  return withHelper(docker, image.Id, async (container) => {
    const own = (image.Config.Labels ?? {}) as Record<string, string>;
    const names = adaptedAccounts(await accountsOf(container), own, uids);
    await container.putArchive(await archive(supervisor.bytes, names), { path: '/' });
    const added = { [labels.supervisor]: supervisor.sha256, [labels.adaptedFrom]: image.Id, ...names.labels };
    const committed = (await container.commit({ ...name, pause: false, Labels: { ...own, ...added } } as object)) as { Id: string };
    return committed.Id;
  });
}

async function accountsOf(container: Dockerode.Container): Promise<Accounts> {
  return { passwd: await fileOf(container, '/etc/passwd'), group: await fileOf(container, '/etc/group') };
}

/** Reads a small plain file of a container that was never started: empty if it is missing, undefined if it is something else. */
async function fileOf(container: Dockerode.Container, path: string): Promise<string | undefined> {
  try {
    return (await onlyFile((await container.getArchive({ path })) as Readable, mostAccounts))?.toString('latin1');
  } catch (error) {
    if (isStatus(error, 404)) return '';
    throw error;
  }
}

/**
 * Returns a tar with the supervisor, its folder first: an engine that unpacks it replaces a link or file of this name by the folder.
 * The tar is not compressed, because the engine would run a decompressor as root on the host (CVE in engines below 29.5.1).
 */
async function archive(bytes: Buffer, names: Accounts): Promise<Buffer> {
  const pack = tar.pack();
  const root = { uid: 0, gid: 0, mtime: new Date(0) };
  pack.entry({ name: '.katafleet/', type: 'directory', mode: 0o755, ...root });
  pack.entry({ name: '.katafleet/supervisor', mode: 0o555, ...root }, bytes);
  for (const file of ['passwd', 'group'] as const) {
    const text = names[file];
    if (text !== undefined) pack.entry({ name: `etc/${file}`, mode: 0o644, ...root }, Buffer.from(text, 'latin1'));
  }
  pack.finalize();
  const parts: Buffer[] = [];
  for await (const part of pack) parts.push(part as Buffer);
  return Buffer.concat(parts);
}
