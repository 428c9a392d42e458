import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type Dockerode from 'dockerode';
import tar from 'tar-stream';

export const scratchImage = 'katafleet-test/scratch';

/** An image, `latest` of that name, that holds nothing but `/program`, static, see scratch.c. */
export async function importScratch(docker: Dockerode, name = scratchImage): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'katafleet-scratch-'));
  try {
    const source = fileURLToPath(new URL('scratch.c', import.meta.url));
    await promisify(execFile)('gcc', ['-static', '-Os', '-o', join(folder, 'program'), source]);
    const archive = tar.pack();
    archive.entry({ name: 'program', mode: 0o755 }, await readFile(join(folder, 'program')));
    archive.finalize();
    const parts: Buffer[] = [];
    for await (const part of archive) parts.push(part as Buffer);
    // dockerode's types know a path only, docker-modem takes a Buffer as well.
    const answer = await docker.importImage(Buffer.concat(parts) as unknown as string, { repo: name, tag: 'latest' });
    for await (const _ of answer);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
