import { createHash } from 'node:crypto';
import type Dockerode from 'dockerode';
import tar from 'tar-stream';
import { labels } from '../../core/labels.ts';
import { supervisorPath } from '../isolation.ts';
import type { SupervisorBinary } from '../supervisor.ts';
import { inspectImage } from '../api/inspect.ts';

/** Long past the time that adapting takes: what a dying katafleet leaves is reaped then. */
const adaptingMs = 10 * 60_000;

/**
 * A one-layer image with the supervisor on top of an image that lacks it, made once per node: its tag is a function of
 * both, so that the second call finds it. Returns its id.
 */
export async function adapt(docker: Dockerode, image: Dockerode.ImageInspectInfo, supervisor: SupervisorBinary): Promise<string> {
  const key = createHash('sha256').update(image.Id).update(supervisor.sha256).digest('hex').slice(0, 32);
  const [repo, tag] = ['katafleet/adapted', key];
  const there = await inspectImage(docker, `${repo}:${tag}`);
  if (there) return there.Id;
  const container = await docker.createContainer({
    Image: image.Id,
    Entrypoint: [supervisorPath],
    Cmd: [],
    NetworkDisabled: true,
    Labels: { [labels.role]: 'adapting', [labels.deadline]: String(Date.now() + adaptingMs) },
    HostConfig: { NetworkMode: 'none' },
  });
  try {
    await container.putArchive(await archive(supervisor.bytes), { path: '/' });
    const committed = (await container.commit({ repo, tag, pause: false, ...config(image, supervisor) })) as { Id: string };
    return committed.Id;
  } finally {
    await container.remove({ force: true, v: true });
  }
}

function config(image: Dockerode.ImageInspectInfo, supervisor: SupervisorBinary): object {
  return { Labels: { ...image.Config.Labels, [labels.supervisor]: supervisor.sha256, [labels.adaptedFrom]: image.Id } };
}

/** The supervisor as a plain tar: compressed ones would run a decompressor as root on the host (CVE in engines below 29.5.1). */
async function archive(bytes: Buffer): Promise<Buffer> {
  const pack = tar.pack();
  const root = { uid: 0, gid: 0, mtime: new Date(0) };
  pack.entry({ name: '.katafleet/', type: 'directory', mode: 0o755, ...root });
  pack.entry({ name: '.katafleet/supervisor', mode: 0o555, ...root }, bytes);
  pack.finalize();
  const parts: Buffer[] = [];
  for await (const part of pack) parts.push(part as Buffer);
  return Buffer.concat(parts);
}
