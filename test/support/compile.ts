import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

/** Builds a C program of this folder by its name. It is static, so that it runs in any sandbox. */
export async function staticProgram(name: string): Promise<Buffer> {
  const folder = await mkdtemp(join(tmpdir(), 'katafleet-compile-'));
  try {
    const program = join(folder, name);
    await promisify(execFile)('gcc', ['-static', '-Os', '-o', program, fileURLToPath(new URL(`${name}.c`, import.meta.url))]);
    return await readFile(program);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
