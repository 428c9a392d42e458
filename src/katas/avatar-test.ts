import { MiB } from '../base/units.ts';
import type { RunRequest, SandboxFile, SandboxFolder } from '../model/request.ts';
import type { RunResult } from '../model/result.ts';
import type { KataFiles, WholeFile } from './kata-files.ts';
import type { KataRecord, TestRecord } from './record.ts';
import type { Shown } from './sandbox.ts';
import { entriesOf } from './steps.ts';

/** An avatar's test as its callers see it, and the run that it asks for. */

/** What a test hands to the function that runs it. */
export interface TestRunOptions {
  signal?: AbortSignal;
  onOutput?: (step: number, stream: 'stdout' | 'stderr', bytes: Buffer) => void | Promise<void>;
  /** Whose test it is: what a session is kept by. */
  of: { kata: string; avatar: string; test: number };
}
export type RunTest = (request: RunRequest, options: TestRunOptions) => Promise<RunResult>;

/** What a person hands in: all files that they see, whole. What they were shown and is not among it is deleted. */
export interface Given {
  files: readonly SandboxFile[];
  folders?: readonly SandboxFolder[];
}

export interface TestOptions {
  signal?: AbortSignal;
  onOutput?: TestRunOptions['onOutput'];
  /** Limits of the run beyond those of the start-point. */
  profile?: NonNullable<RunRequest['profile']>;
}

export interface Tested {
  test: number;
  result: RunResult;
  /** What the person sees of what changed. */
  shown: Shown;
  hidden: string[];
  ignored: string[];
  record: TestRecord;
  /** Resolves when both commits are on disk, with their names. @throws kata.storage when they could not be made */
  committed: Promise<{ saved: string; tested: string }>;
}

const command = ['bash', './cyber-dojo.sh'];
/** What tools may leave in one test. */
const back = { filesBack: 2_000, fileBack: 8 * MiB, bytesBack: 32 * MiB };

/** The run of a test: the avatar's files, and the kata's command and limits. */
export function testRequest({ manifest, rules }: KataRecord, files: KataFiles, profile: TestOptions['profile']): RunRequest {
  const { max_seconds: seconds, image_name: image } = manifest;
  return {
    image,
    ...entriesOf(files),
    steps: [{ argv: command }],
    ...(rules.back === undefined ? {} : { back: rules.back }),
    profile: { ...back, ...(seconds === undefined ? {} : { wallMs: seconds * 1000 }), ...profile },
  };
}

/** What was handed in, with all contents in memory. */
export async function whole({ files, folders = [] }: Given): Promise<{ files: WholeFile[]; folders: SandboxFolder[] }> {
  const read = files.map(async ({ content, ...file }): Promise<WholeFile> => {
    if (content instanceof Uint8Array) return { ...file, content };
    const chunks: Uint8Array[] = [];
    for await (const chunk of content.open()) chunks.push(chunk);
    return { ...file, content: Buffer.concat(chunks) };
  });
  return { files: await Promise.all(read), folders: [...folders] };
}
