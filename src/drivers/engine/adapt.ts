import { createHash } from 'node:crypto';
import type Dockerode from 'dockerode';
import tar from 'tar-stream';
import { labels } from '../../core/labels.ts';
import { type Uids, uidsInWords } from '../../core/users.ts';
import { type Accounts, adaptedAccounts } from '../names.ts';
import { supervisorPath } from '../isolation.ts';
import type { SupervisorBinary } from '../supervisor.ts';
import { isStatus } from '../api/errors.ts';
import { inspectImage } from '../api/inspect.ts';

/** Long past the time that adapting takes: what a dying katafleet leaves is reaped then. */
const adaptingMs = 10 * 60_000;

/** What an image's passwd or group may hold, bytes; a larger one is no such file. */
const mostAccounts = 1024 ** 2;

/**
 * A one-layer image with the supervisor, and names for the uids, on top of an image that lacks them, made once per node: its
 * tag is a function of all, so that the second call finds it.
 */
export async function adapt(
  docker: Dockerode,
  image: Dockerode.ImageInspectInfo,
  supervisor: SupervisorBinary,
  uids: Uids,
): Promise<Dockerode.ImageInspectInfo> {
  const key = createHash('sha256').update(image.Id).update(supervisor.sha256).update(uidsInWords(uids)).digest('hex').slice(0, 32);
  const [repo, tag] = ['katafleet/adapted', key];
  const there = await inspectImage(docker, `${repo}:${tag}`);
  if (there) return there;
  const container = await docker.createContainer({
    Image: image.Id,
    Entrypoint: [supervisorPath],
    Cmd: [],
    NetworkDisabled: true,
    Labels: { [labels.role]: 'adapting', [labels.deadline]: String(Date.now() + adaptingMs) },
    HostConfig: { NetworkMode: 'none' },
  });
  try {
    const own = (image.Config.Labels ?? {}) as Record<string, string>;
    const names = adaptedAccounts(await accountsOf(container), own, uids);
    await container.putArchive(await archive(supervisor.bytes, names), { path: '/' });
    const added = { [labels.supervisor]: supervisor.sha256, [labels.adaptedFrom]: image.Id, ...names.labels };
    const committed = (await container.commit({ repo, tag, pause: false, Labels: { ...own, ...added } } as object)) as { Id: string };
    return await docker.getImage(committed.Id).inspect();
  } finally {
    await container.remove({ force: true, v: true });
  }
}

async function accountsOf(container: Dockerode.Container): Promise<Accounts> {
  return { passwd: await fileOf(container, '/etc/passwd'), group: await fileOf(container, '/etc/group') };
}

/** A small plain file of a container that was never started: empty where there is none, undefined where it is something else. */
async function fileOf(container: Dockerode.Container, path: string): Promise<string | undefined> {
  try {
    const unpacked = (await container.getArchive({ path })).pipe(tar.extract());
    for await (const entry of unpacked) {
      const { type, size } = entry.header;
      if (type !== 'file' || size > mostAccounts) return undefined;
      const parts: Buffer[] = [];
      for await (const part of entry) parts.push(part as Buffer);
      return Buffer.concat(parts).toString('latin1');
    }
    return undefined;
  } catch (error) {
    if (isStatus(error, 404)) return '';
    throw error;
  }
}

/** The supervisor as a plain tar: compressed ones would run a decompressor as root on the host (CVE in engines below 29.5.1). */
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
