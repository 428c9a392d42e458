import { isUtf8 } from 'node:buffer';
import { z } from 'zod';
import { LongText } from './long-text.ts';
import type { Stream } from './output.ts';
import { readState, RunRecord } from './record.ts';
import { Changes, type KeptResult, type Pieces, ReturnedFile, ReturnedFolder, RunResult, StepFacts, type StepResult } from './result.ts';

/**
 * The JSON of results and records, for the API, `--json`, the client and katas. Bytes are text if they are UTF-8, else base64; time
 * stamps are decimal ns. Reading is lenient: unknown fields are dropped, fields that are added later have defaults.
 */

export const base64 = z.base64().transform((text) => Buffer.from(text, 'base64'));
export const mtimeNs = z
  .string()
  .regex(/^-?\d{1,19}$/, 'must be decimal nanoseconds')
  .transform(BigInt);

/** Output that is not UTF-8 has U+FFFD for each fault; `stdoutBase64` has the bytes then. */
export function outputJson(name: Stream | `${Stream}Tail`, bytes: Buffer): object {
  return { [name]: bytes.toString('utf8'), ...(isUtf8(bytes) ? {} : { [`${name}Base64`]: bytes.toString('base64') }) };
}

/** Returns a step as JSON, with its output as text. */
export function stepJson(step: StepResult): object {
  const { stdoutTail, stderrTail, ...rest } = step;
  return {
    ...rest,
    ...outputJson('stdout', step.stdout),
    ...outputJson('stderr', step.stderr),
    ...(stdoutTail ? outputJson('stdoutTail', stdoutTail) : {}),
    ...(stderrTail ? outputJson('stderrTail', stderrTail) : {}),
  };
}

const output = z.string();
const StepResultJson = z
  .object({
    ...StepFacts.shape,
    stdout: output,
    stderr: output,
    stdoutTail: output.optional(),
    stderrTail: output.optional(),
    stdoutBase64: output.optional(),
    stderrBase64: output.optional(),
    stdoutTailBase64: output.optional(),
    stderrTailBase64: output.optional(),
  })
  .transform(
    ({ stdout, stderr, stdoutTail, stderrTail, stdoutBase64, stderrBase64, stdoutTailBase64, stderrTailBase64, ...facts }): StepResult => ({
      ...facts,
      stdout: bytesOf(stdout, stdoutBase64),
      stderr: bytesOf(stderr, stderrBase64),
      ...(stdoutTail === undefined ? {} : { stdoutTail: bytesOf(stdoutTail, stdoutTailBase64) }),
      ...(stderrTail === undefined ? {} : { stderrTail: bytesOf(stderrTail, stderrTailBase64) }),
    }),
  );
const bytesOf = (text: string, inBase64: string | undefined) =>
  inBase64 === undefined ? Buffer.from(text) : Buffer.from(inBase64, 'base64');

/** A result that becomes JSON. Its large files may not be in memory, and a kata has reasons of its own for what it leaves out. */
export type WritableResult = Omit<KeptResult, 'changes'> & {
  changes: Omit<KeptResult['changes'], 'omitted'> & { omitted: { path: string; reason: string }[] };
};
type Content = WritableResult['changes']['files'][number]['content'];

/** How files are written. `text`: as text if it is UTF-8, as in the API. `base64`: always base64, as in `--json` from its first release on. */
export type FileForm = 'text' | 'base64';

/** Files that are not in memory become {@link LongText}s, which longJson writes. */
function contentJson(content: Content, form: FileForm): { content: string | LongText; encoding: 'utf8' | 'base64' } {
  if (!Buffer.isBuffer(content)) {
    const pieces: Pieces = form === 'text' ? content : { bytes: content.bytes, utf8: false, read: (...of) => content.read(...of) };
    return { content: new LongText(pieces), encoding: pieces.utf8 ? 'utf8' : 'base64' };
  }
  const encoding = form === 'text' && isUtf8(content) ? 'utf8' : 'base64';
  return { content: content.toString(encoding), encoding };
}

export function resultJson(result: WritableResult, form: FileForm = 'text'): object {
  const { changes, steps } = result;
  return {
    ...result,
    steps: steps.map(stepJson),
    changes: {
      ...changes,
      files: changes.files.map((file) => ({ ...file, mtimeNs: String(file.mtimeNs), ...contentJson(file.content, form) })),
      folders: changes.folders.map((folder) => ({ ...folder, mtimeNs: String(folder.mtimeNs) })),
    },
  };
}

/** Release 0.1 wrote `--json` without `encoding`; its files are in base64. */
const ReturnedFileJson = z
  .object({ ...ReturnedFile.shape, mtimeNs, content: z.string(), encoding: z.enum(['utf8', 'base64']).default('base64') })
  .transform(({ content, encoding, ...file }): ReturnedFile => ({ ...file, content: Buffer.from(content, encoding) }));

/** Reads what {@link resultJson} wrote. */
export const ResultJson = z.object({
  ...RunResult.shape,
  steps: z.array(StepResultJson),
  changes: z.object({
    ...Changes.shape,
    files: z.array(ReturnedFileJson),
    folders: z.array(z.object({ ...ReturnedFolder.shape, mtimeNs })),
  }),
});

/** Reads a run as the API answers it. `position` is its place in the queue, 1 for the next. */
export const recordFields = { ...RunRecord.shape, position: z.int().exactOptional(), result: ResultJson.optional() };
export const RecordJson = z.object(recordFields).transform(readState);
export type RecordJson = z.output<typeof RecordJson>;
