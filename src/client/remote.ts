import { type ErrorCode, errorKinds, KatafleetError } from '../model/errors.ts';
import { shownOutput, type Stream } from '../model/output.ts';
import type { Changes, RunRequest, RunResult, SandboxFile, StepResult } from '../model/run.ts';
import type { RunOptions } from '../runs/attempt/runner.ts';
import type { ServerClient } from './client.ts';

/** How long one call waits for the run, s; below the client's own patience. */
const waitSeconds = 20;

type Tail = `${Stream}Tail`;
type StepAnswer = Omit<StepResult, Stream | Tail> & Record<Stream, string> & Partial<Record<Tail | `${Stream | Tail}Base64`, string>>;
interface ResultAnswer extends Omit<RunResult, 'steps' | 'changes'> {
  steps: StepAnswer[];
  changes: Omit<Changes, 'files' | 'folders'> & {
    files: (Omit<Changes['files'][number], 'mtimeNs' | 'content'> & { mtimeNs: string; content: string; encoding: 'utf8' | 'base64' })[];
    folders: { path: string; mode: number; mtimeNs: string }[];
  };
}
interface RunAnswer {
  id: string;
  state: string;
  endedAt?: number;
  result?: ResultAnswer;
  error?: { code: string; message: string; hint?: string };
}

/** A run that a server is asked for: its profile may be the name of one that the server has. */
export type RemoteRequest = Omit<RunRequest, 'profile'> & { profile?: RunRequest['profile'] | string };

/** One run on a katafleet that serves, with the files whole; its output comes at the end. @throws what a run here would throw */
export async function runThere(server: ServerClient, request: RemoteRequest, { signal, onOutput }: RunOptions = {}): Promise<RunResult> {
  signal?.throwIfAborted();
  const path = (id: string) => `/v1/runs/${id}`;
  let run = await server.call<RunAnswer>('POST', `/v1/runs?wait=${signal ? 0 : waitSeconds}`, await spec(request));
  const cancel = () => void server.call('DELETE', path(run.id)).catch(() => undefined); // the next look tells how it ended
  if (signal?.aborted) cancel(); // while it was being accepted
  signal?.addEventListener('abort', cancel, { once: true });
  try {
    while (run.endedAt === undefined) run = await server.call<RunAnswer>('GET', `${path(run.id)}?wait=${waitSeconds}`);
  } finally {
    signal?.removeEventListener('abort', cancel);
  }
  if (!run.result) throw failureOf(run);
  const result = resultOf(run.result);
  for (const [index, step] of result.steps.entries()) {
    for (const stream of ['stdout', 'stderr'] as const) {
      const bytes = shownOutput(step, stream);
      if (bytes.length > 0) await onOutput?.(index, stream, bytes);
    }
  }
  return result;
}

async function spec({ files, folders = [], steps, ...rest }: RemoteRequest): Promise<object> {
  const whole = await Promise.all(files.map(async (file) => ({ ...file, content: await base64(file) })));
  return {
    ...rest,
    files: whole.map(({ path, mode, mtimeNs, content }) => ({
      path,
      mode,
      ...(mtimeNs === undefined ? {} : { mtimeNs: String(mtimeNs) }),
      encoding: 'base64',
      content,
    })),
    folders: folders.map(({ mtimeNs, ...folder }) => ({ ...folder, ...(mtimeNs === undefined ? {} : { mtimeNs: String(mtimeNs) }) })),
    steps: steps.map(({ stdin, ...step }) => ({ ...step, ...(stdin ? { stdin: { base64: Buffer.from(stdin).toString('base64') } } : {}) })),
  };
}

/** A run on another katafleet carries its files whole. @throws file.unreadable where a file is no longer what it was */
async function base64({ path, content }: SandboxFile): Promise<string> {
  if (content instanceof Uint8Array) return Buffer.from(content).toString('base64');
  const parts: Uint8Array[] = [];
  for await (const part of content.size > 0 ? content.open() : []) parts.push(part);
  const bytes = Buffer.concat(parts);
  if (bytes.length !== content.size)
    throw new KatafleetError('file.unreadable', `${path} changed while it was read: ${content.size} bytes were announced`);
  return bytes.toString('base64');
}

function failureOf({ id, state, error }: RunAnswer): KatafleetError {
  if (!error) return new KatafleetError('run.cancelled', `the run ${id} is ${state}`);
  const code = error.code in errorKinds ? (error.code as ErrorCode) : 'internal';
  return new KatafleetError(code, error.message, error.hint === undefined ? {} : { hint: error.hint });
}

function stepOf(answer: StepAnswer): StepResult {
  const { stdout, stderr, stdoutTail, stderrTail, stdoutBase64, stderrBase64, stdoutTailBase64, stderrTailBase64, ...step } = answer;
  const bytes = (text: string, base64: string | undefined) => (base64 === undefined ? Buffer.from(text) : Buffer.from(base64, 'base64'));
  return {
    ...step,
    stdout: bytes(stdout, stdoutBase64),
    stderr: bytes(stderr, stderrBase64),
    ...(stdoutTail === undefined ? {} : { stdoutTail: bytes(stdoutTail, stdoutTailBase64) }),
    ...(stderrTail === undefined ? {} : { stderrTail: bytes(stderrTail, stderrTailBase64) }),
  };
}

/** The result as it was before it was JSON. */
function resultOf({ steps, changes, ...rest }: ResultAnswer): RunResult {
  return {
    ...rest,
    steps: steps.map(stepOf),
    changes: {
      ...changes,
      files: changes.files.map(({ content, encoding, mtimeNs, ...file }) => ({
        ...file,
        mtimeNs: BigInt(mtimeNs),
        content: Buffer.from(content, encoding),
      })),
      folders: changes.folders.map((folder) => ({ ...folder, mtimeNs: BigInt(folder.mtimeNs) })),
    },
  };
}
