import { MiB } from '../base/units.ts';
import type { RunRequest, SandboxFile, SandboxFolder } from '../model/request.ts';
import type { RunResult } from '../model/result.ts';
import type { KataFiles, WholeFile } from './kata-files.ts';
import type { KataRecord, TestRecord } from './record.ts';
import type { Shown } from './sandbox.ts';
import { entriesOf } from './steps.ts';

/** An avatar's test as its callers see it, and the run that it requests. */

/** Options of a test for the function that runs it. */
export interface TestRunOptions {
  signal?: AbortSignal;
  onOutput?: (step: number, stream: 'stdout' | 'stderr', bytes: Buffer) => void | Promise<void>;
  /** The test, by which a session is found. */
  of: { kata: string; avatar: string; test: number };
}
export type RunTest = (request: RunRequest, options: TestRunOptions) => Promise<RunResult>;

/** The submitted files: all files that the person sees, with their contents. A visible file that is not among them is deleted. */
export interface Given {
  files: readonly SandboxFile[];
  folders?: readonly SandboxFolder[];
}

export interface TestOptions {
  signal?: AbortSignal;
  onOutput?: TestRunOptions['onOutput'];
  /** Limits of the run that override the start-point's. */
  profile?: NonNullable<RunRequest['profile']>;
}

export interface Tested {
  test: number;
  result: RunResult;
  /** The changes that the person sees. */
  shown: Shown;
  hidden: string[];
  ignored: string[];
  record: TestRecord;
  /** Resolves with the ids of both commits when they are on disk. @throws kata.storage if they could not be made */
  committed: Promise<{ saved: string; tested: string }>;
}

const command = ['bash', './cyber-dojo.sh'];
/** Most files that the tools may create in one test. */
const back = { filesBack: 2_000, fileBack: 8 * MiB, bytesBack: 32 * MiB };

/** Returns a test's run: the avatar's files with the kata's command and limits. */
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

/** Returns the submitted files and folders with all contents in memory. */
export async function whole({ files, folders = [] }: Given): Promise<{ files: WholeFile[]; folders: SandboxFolder[] }> {
  const read = files.map(async ({ content, ...file }): Promise<WholeFile> => {
    if (content instanceof Uint8Array) return { ...file, content };
    const chunks: Uint8Array[] = [];
    for await (const chunk of content.open()) chunks.push(chunk);
    return { ...file, content: Buffer.concat(chunks) };
  });
  return { files: await Promise.all(read), folders: [...folders] };
}
