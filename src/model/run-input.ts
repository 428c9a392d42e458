import { z } from 'zod';
import { KatafleetError } from './errors.ts';
import { faultsOf } from './faults.ts';
import { isContent, type RunRequest, SandboxFile, SandboxFolder } from './request.ts';

/** A file as TypeScript programs give it: a text stands for its bytes in UTF-8. */
export interface FileInput extends Omit<SandboxFile, 'content'> {
  content: string | SandboxFile['content'];
}

/** A run as TypeScript programs ask for it; absent fields have their defaults. */
export interface RunInput extends Omit<RunRequest, 'files'> {
  files?: readonly FileInput[];
}

const content = z.custom<FileInput['content']>(
  (value) => typeof value === 'string' || isContent(value),
  'expected a text, bytes, or {size, open}',
);
const Entries = z.object({ files: z.array(z.object({ ...SandboxFile.shape, content })), folders: z.array(SandboxFolder) });

/** Checks a request before any node is asked. @throws request.invalid, naming each field at fault */
export function requestFrom<T extends Pick<RunInput, 'files' | 'folders'>>(input: T): Omit<T, 'files'> & Pick<RunRequest, 'files'> {
  const { files = [], folders = [] } = input;
  const parsed = Entries.safeParse({ files, folders });
  if (!parsed.success) throw new KatafleetError('request.invalid', faultsOf(parsed.error));
  return {
    ...input,
    files: files.map(({ content: given, ...file }) => ({ ...file, content: typeof given === 'string' ? Buffer.from(given) : given })),
  };
}
