import type Dockerode from 'dockerode';
import tar from 'tar-stream';
import { staticProgram } from './compile.ts';

export const scratchImage = 'katafleet-test/scratch';

/** Makes an image, `latest` of that name, that has only `/program` (static, see scratch.c) and the files of `more`. */
export async function importScratch(docker: Dockerode, name = scratchImage, more: Readonly<Record<string, string>> = {}): Promise<void> {
  const archive = tar.pack();
  archive.entry({ name: 'program', mode: 0o755 }, await staticProgram('scratch'));
  for (const [path, text] of Object.entries(more)) archive.entry({ name: path, mode: 0o644 }, text);
  archive.finalize();
  const parts: Buffer[] = [];
  for await (const part of archive) parts.push(part as Buffer);
  // dockerode's types allow only a path; docker-modem takes a Buffer too.
  const answer = await docker.importImage(Buffer.concat(parts) as unknown as string, { repo: name, tag: 'latest' });
  for await (const _ of answer);
}
