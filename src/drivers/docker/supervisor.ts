import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { inPackage } from '../../base/package-folder.ts';
import { MemoMap } from '../../base/memo.ts';
import { KatafleetError } from '../../model/errors.ts';

/** The supervisor as built for one architecture. */
export interface SupervisorBinary {
  bytes: Buffer;
  sha256: string;
}

/** One that is built in the meantime is found the next time. */
const cache = new MemoMap<string, SupervisorBinary>();

/** Path of the built supervisor, the same from src/ and from dist/. */
export function supervisorFile(architecture: 'amd64' | 'arm64'): string {
  return inPackage(`images/supervisor/build/${architecture}/supervisor`);
}

/** The supervisor for an architecture, read once. @throws supervisor.missing */
export function supervisorBinary(architecture: 'amd64' | 'arm64'): Promise<SupervisorBinary> {
  return cache.get(architecture, () => load(architecture));
}

async function load(architecture: 'amd64' | 'arm64'): Promise<SupervisorBinary> {
  const file = supervisorFile(architecture);
  try {
    const bytes = await readFile(file);
    return { bytes, sha256: createHash('sha256').update(bytes).digest('hex') };
  } catch (cause) {
    throw new KatafleetError('supervisor.missing', `the supervisor for ${architecture} is not built (${file})`, {
      cause,
      hint: 'npm run build:supervisor; for the other architecture: make -C images/supervisor all-architectures',
    });
  }
}
