import { z } from 'zod';
import { KatafleetError } from '../model/errors.ts';
import { faultsOf } from '../model/faults.ts';
import type { RunRequest, SandboxFile } from '../model/request.ts';

/** A file as TypeScript programs give it: a text will do for its bytes. */
export interface FileInput extends Omit<SandboxFile, 'content'> {
  content: string | SandboxFile['content'];
}

/** A run as TypeScript programs ask for it; what is left out has its default. */
export interface RunInput extends Omit<RunRequest, 'files'> {
  files?: readonly FileInput[];
}

const entry = {
  path: z.string(),
  mode: z.int().min(0).max(0o7777).optional(),
  mtimeNs: z.bigint('expected a bigint of nanoseconds').optional(),
};
const isContent = (value: unknown): boolean => {
  if (typeof value === 'string' || value instanceof Uint8Array) return true;
  const { size, open } = (value ?? {}) as { size?: unknown; open?: unknown };
  return Number.isSafeInteger(size) && Number(size) >= 0 && typeof open === 'function';
};
const content = z.custom<FileInput['content']>(isContent, 'expected a text, bytes, or {size, open}');
const Entries = z.object({ files: z.array(z.object({ ...entry, content })), folders: z.array(z.object(entry)) });

/** The request that is meant, before anything is asked of a node. @throws request.invalid, naming each field at fault */
export function requestFrom(input: RunInput): RunRequest {
  const { files = [], folders = [] } = input;
  const parsed = Entries.safeParse({ files, folders });
  if (!parsed.success) throw new KatafleetError('request.invalid', faultsOf(parsed.error));
  return {
    ...input,
    files: files.map(({ content, ...file }) => ({ ...file, content: typeof content === 'string' ? Buffer.from(content) : content })),
  };
}
