import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type Dockerode from 'dockerode';
import { KatafleetError, messageOf } from '../model/errors.ts';
import { inspectImage } from '../drivers/docker/inspect.ts';

export type Progress = (line: string) => void;

/** How long a registry may take to begin its answer (ms); the download itself may take longer. */
const registryMs = 60_000;

/** Returns the id of a Debian base on this node: one that is there, pulled, or made by debootstrap. @throws base.unavailable */
export async function debianBase(docker: Dockerode, suite: string, progress: Progress): Promise<string> {
  const [official, own] = [`debian:${suite}-slim`, `katafleet/debian:${suite}`];
  const there = (await inspectImage(docker, official)) ?? (await inspectImage(docker, own));
  if (there) return there.Id;
  try {
    progress(`pulling ${official}`);
    await pull(docker, official);
    const pulled = await inspectImage(docker, official);
    if (pulled) return pulled.Id;
  } catch (error) {
    progress(`no registry gave ${official} (${messageOf(error)}); making it with debootstrap`);
  }
  await debootstrap(docker, suite, own, progress);
  const made = await inspectImage(docker, own);
  if (!made) throw new KatafleetError('base.unavailable', `the engine accepted the base ${own} but doesn't have it`);
  return made.Id;
}

async function pull(docker: Dockerode, image: string): Promise<void> {
  const stream = await docker.pull(image, { abortSignal: AbortSignal.timeout(registryMs) });
  await new Promise<void>((resolve, reject) => {
    docker.modem.followProgress(stream, (error: Error | null) => (error ? reject(error) : resolve()));
  });
}

async function debootstrap(docker: Dockerode, suite: string, tag: string, progress: Progress): Promise<void> {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) {
    throw new KatafleetError('base.unavailable', `no registry has Debian ${suite}, and debootstrap needs root on Linux`, {
      hint: 'run katafleet images build as root, or make a registry reachable',
    });
  }
  const folder = await mkdtemp(join(tmpdir(), 'katafleet-base-'));
  const root = join(folder, 'root');
  try {
    await finished(
      spawn('debootstrap', ['--variant=minbase', suite, root], { stdio: ['ignore', 'pipe', 'pipe'] }),
      'debootstrap',
      (line) => {
        if (/^I: (Retrieving|Extracting|Unpacking|Configuring) \S+\.\.\./.test(line)) progress(line.slice(3));
      },
    );
    await addSecurity(join(root, 'etc/apt/sources.list'), suite);
    const tar = spawn('tar', ['-C', root, '--exclude=./var/cache/apt/*', '--exclude=./var/lib/apt/lists/*', '-c', '.'], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const archived = finished(tar, 'tar', () => undefined, false);
    const [repo, version] = tag.split(':');
    const [answer] = await Promise.all([docker.importImage(tar.stdout, { repo, tag: version }), archived]);
    answer.resume();
    await once(answer, 'end');
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Adds the security updates, which lie beside the suite on the same mirror: debootstrap's own list of sources lacks them. */
async function addSecurity(file: string, suite: string): Promise<void> {
  const lines = (await readFile(file, 'utf8')).split('\n').filter((line) => line.startsWith('deb '));
  const mirror = lines[0]?.split(' ')[1];
  if (!mirror) return;
  const security = mirror.replace(/\/debian\/?$/, '/debian-security');
  if (security === mirror) return;
  await writeFile(file, `deb ${mirror} ${suite} main\ndeb ${mirror} ${suite}-updates main\ndeb ${security} ${suite}-security main\n`);
}

async function finished(child: ChildProcess, name: string, line: (text: string) => void, reads = true): Promise<void> {
  let last = '';
  child.stderr?.on('data', (chunk: Buffer) => (last = (last + chunk.toString()).slice(-2_000)));
  if (reads) {
    child.stdout?.on('data', (chunk: Buffer) => {
      last = (last + chunk.toString()).slice(-2_000);
      for (const text of chunk.toString().split('\n')) line(text);
    });
  }
  const failed = (why: string, cause?: unknown) =>
    new KatafleetError('base.unavailable', `${name} failed: ${why}`, {
      cause,
      hint: `apt-get install ${name}; then look at its message above`,
    });
  const code = await once(child, 'close').then(
    ([status]) => status as number | null,
    (error: unknown) => {
      throw failed(messageOf(error), error);
    },
  );
  if (code !== 0) throw failed(last.trim().split('\n').slice(-5).join('\n'));
}
