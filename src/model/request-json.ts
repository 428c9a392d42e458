import { z } from 'zod';
import { KatafleetError } from './errors.ts';
import { base64, mtimeNs } from './json.ts';
import { Placing } from './placing.ts';
import { type Profile, ProfileFields } from './profile.ts';
import { type RunRequest, type SandboxFile, Step } from './request.ts';

/** The JSON of a request, as the API takes it and the client sends it. See model/json.ts for results. */

const mode = z.int().min(0).max(0o7777);
const path = z.string().min(1).max(4_095);

const FileJson = z
  .strictObject({
    path,
    mode: mode.optional(),
    mtimeNs: mtimeNs.optional(),
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
    folders: z.array(z.strictObject({ path, mode: mode.optional(), mtimeNs: mtimeNs.optional() })).default([]),
    /** A folder of the server's machine in place of files. */
    rsync: z.strictObject({ path: z.string().min(1).max(4_095) }).optional(),
    steps: z.array(StepJson).min(1).max(10_000).optional(),
    command: z.array(z.string()).min(1).max(1_000).optional(),
    /** The name of a configured profile, or fields that differ from the default's. */
    profile: z.union([z.string(), ProfileFields]).optional(),
    collect: z.boolean().default(true),
    /** Globs of the files that come back. */
    back: z.array(z.string().min(1).max(500)).min(1).max(200).optional(),
    /** Keeps the sandbox for the next run with this name, see {@link RunRequest.session}. */
    session: z.string().min(1).max(255).optional(),
    ...placing,
    queueMs: placing.queueMs.unwrap().optional(),
  })
  .refine((run) => (run.steps === undefined) !== (run.command === undefined), { message: 'give either command or steps', path: ['steps'] });
export type RunJson = z.output<typeof RunJson>;

/** Returns the request of a {@link RunJson} with the given profile. */
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

/** A request to a server. Its profile may be a name that the server knows, and it may say where and when it runs. */
export interface RemoteRequest extends Omit<RunRequest, 'profile'>, z.input<typeof Placing> {
  profile?: RunRequest['profile'] | string;
}

/** Returns a request as {@link RunJson} takes it, with whole files. @throws file.unreadable if a file changed while it was read */
export async function requestJson({ files, folders = [], steps, ...rest }: RemoteRequest): Promise<object> {
  const stamp = (ns: bigint | undefined) => (ns === undefined ? {} : { mtimeNs: String(ns) });
  return {
    ...rest,
    files: await Promise.all(
      files.map(async (file) => ({
        path: file.path,
        mode: file.mode,
        ...stamp(file.mtimeNs),
        encoding: 'base64',
        content: (await whole(file)).toString('base64'),
      })),
    ),
    folders: folders.map(({ mtimeNs: ns, ...folder }) => ({ ...folder, ...stamp(ns) })),
    steps: steps.map(({ stdin, ...step }) => ({ ...step, ...(stdin ? { stdin: { base64: Buffer.from(stdin).toString('base64') } } : {}) })),
  };
}

async function whole({ path: name, content }: SandboxFile): Promise<Buffer> {
  if (content instanceof Uint8Array) return Buffer.from(content.buffer, content.byteOffset, content.byteLength);
  const parts: Uint8Array[] = [];
  for await (const part of content.size > 0 ? content.open() : []) parts.push(part);
  const bytes = Buffer.concat(parts);
  if (bytes.length !== content.size)
    throw new KatafleetError('file.unreadable', `${name} changed while it was read: ${content.size} bytes were announced`);
  return bytes;
}
