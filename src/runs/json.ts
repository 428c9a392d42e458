import { isUtf8 } from 'node:buffer';
import { z } from 'zod';
import { Placing } from '../model/placing.ts';
import { type Profile, ProfileFields } from '../model/profile.ts';
import type { Stream } from '../model/output.ts';
import { type KeptResult, type Pieces, type RunRequest, Step, type StepResult } from '../model/run.ts';
import { LongText } from './long-json.ts';

/** How runs and their results look as JSON: bytes as text where they are UTF-8, else in base64; time stamps as decimal ns. */

const base64 = z.base64().transform((text) => Buffer.from(text, 'base64'));
const mode = z.int().min(0).max(0o7777);
const mtimeNs = z
  .string()
  .regex(/^-?\d{1,19}$/, 'must be decimal nanoseconds')
  .transform(BigInt)
  .optional();
const path = z.string().min(1).max(4_095);

const FileJson = z
  .strictObject({
    path,
    mode: mode.optional(),
    mtimeNs,
    content: z.string().default(''),
    encoding: z.enum(['utf8', 'base64']).default('utf8'),
  })
  .transform(({ content, encoding, ...file }, context) => {
    if (encoding === 'utf8') return { ...file, content: Buffer.from(content, 'utf8') };
    const bytes = base64.safeParse(content);
    if (!bytes.success) context.addIssue({ code: 'custom', message: 'is not base64', path: ['content'] });
    return { ...file, content: bytes.data ?? Buffer.alloc(0) };
  });

const StepJson = z
  .strictObject({ ...Step.shape, stdin: z.union([z.string(), z.strictObject({ base64 })]).optional() })
  .transform(({ stdin, ...step }) => ({
    ...step,
    ...(stdin === undefined ? {} : { stdin: typeof stdin === 'string' ? Buffer.from(stdin) : stdin.base64 }),
  }));

const placing = Placing.shape;

/** A run as a client asks for it. `command` is short for one step; files may be an object of names and texts. */
export const RunJson = z
  .strictObject({
    image: z.string().min(1).max(512),
    files: z
      .union([
        z.array(FileJson),
        z
          .record(path, z.string())
          .transform((texts) => Object.entries(texts).map(([name, text]) => FileJson.parse({ path: name, content: text }))),
      ])
      .default([]),
    folders: z.array(z.strictObject({ path, mode: mode.optional(), mtimeNs })).default([]),
    /** A folder of the server's machine in place of files. */
    rsync: z.strictObject({ path: z.string().min(1).max(4_095) }).optional(),
    steps: z.array(StepJson).min(1).max(10_000).optional(),
    command: z.array(z.string()).min(1).max(1_000).optional(),
    /** The name of a configured profile, or fields that differ from the default's. */
    profile: z.union([z.string(), ProfileFields]).optional(),
    collect: z.boolean().default(true),
    /** Globs: what shall come back. */
    back: z.array(z.string().min(1).max(500)).min(1).max(200).optional(),
    /** The sandbox is kept for the next run with this name, see {@link RunRequest.session}. */
    session: z.string().min(1).max(255).optional(),
    ...placing,
    queueMs: placing.queueMs.unwrap().optional(),
  })
  .refine((run) => (run.steps === undefined) !== (run.command === undefined), { message: 'give either command or steps', path: ['steps'] });
export type RunJson = z.output<typeof RunJson>;

/** What {@link RunJson} asks for, its profile and queue time filled in by the configuration. */
export function requestOf(json: RunJson, profile: z.input<typeof Profile>): RunRequest {
  return {
    image: json.image,
    files: json.files,
    folders: json.folders,
    ...(json.rsync ? { rsync: json.rsync } : {}),
    steps: json.steps ?? [{ argv: json.command ?? [] }],
    profile,
    collect: json.collect,
    ...(json.back === undefined ? {} : { back: json.back }),
    ...(json.session === undefined ? {} : { session: json.session }),
  };
}

const text = (bytes: Buffer) =>
  isUtf8(bytes)
    ? { content: bytes.toString('utf8'), encoding: 'utf8' as const }
    : { content: bytes.toString('base64'), encoding: 'base64' as const };

const longText = (pieces: Pieces) => ({ content: new LongText(pieces), encoding: pieces.utf8 ? ('utf8' as const) : ('base64' as const) });

/** Output that is not UTF-8 is shown with U+FFFD in place of what is none; `stdoutBase64` has the bytes. */
export function outputJson(name: Stream | `${Stream}Tail`, bytes: Buffer): object {
  return { [name]: bytes.toString('utf8'), ...(isUtf8(bytes) ? {} : { [`${name}Base64`]: bytes.toString('base64') }) };
}

/** A step with all that it printed as text. */
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

/** Files that are not in memory are {@link LongText}s, which longJson writes. */
export function resultJson(result: KeptResult): object {
  const { changes, steps } = result;
  return {
    ...result,
    steps: steps.map(stepJson),
    changes: {
      ...changes,
      files: changes.files.map(({ content, ...file }) => ({
        ...file,
        mtimeNs: String(file.mtimeNs),
        ...(Buffer.isBuffer(content) ? text(content) : longText(content)),
      })),
      folders: changes.folders.map((folder) => ({ ...folder, mtimeNs: String(folder.mtimeNs) })),
    },
  };
}
