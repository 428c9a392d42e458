import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { inPackage } from '../../base/package-folder.ts';
import { MemoMap } from '../../base/memo.ts';
import { KatafleetError } from '../../model/errors.ts';

/** The supervisor's program for one architecture. */
export interface SupervisorBinary {
  bytes: Buffer;
  sha256: string;
}

/** A failure is not cached: a supervisor that is built later is found. */
const cache = new MemoMap<string, SupervisorBinary>();

/** Returns the path of the built supervisor, the same from src/ and from dist/. */
export function supervisorFile(architecture: 'amd64' | 'arm64'): string {
  return inPackage(`images/supervisor/build/${architecture}/supervisor`);
}

/** Returns the supervisor for an architecture; it is read once. @throws supervisor.missing */
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
