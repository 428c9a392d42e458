/** The client of release 0.1 as it read a result, unchanged: it proves that this client can read today's answers. */

type Json = Record<string, unknown>;
interface StepAnswer extends Json {
  stdout: string;
  stderr: string;
  stdoutTail?: string;
  stderrTail?: string;
  stdoutBase64?: string;
  stderrBase64?: string;
  stdoutTailBase64?: string;
  stderrTailBase64?: string;
}
interface ResultAnswer extends Json {
  steps: StepAnswer[];
  changes: Json & {
    files: (Json & { mtimeNs: string; content: string; encoding: 'utf8' | 'base64' })[];
    folders: (Json & { mtimeNs: string })[];
  };
}

function stepOf(answer: StepAnswer): Json {
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

/** Returns the `result` of an API's answer as that client did. */
export function resultByClient01(result: unknown): Json {
  const { steps, changes, ...rest } = result as ResultAnswer;
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

/** Reads the document of `run --json` as a program of that time did: files are always in base64. */
export function resultPrinted01(printed: unknown): Json {
  const { changes, ...rest } = printed as ResultAnswer;
  const files = changes.files.map((file) => ({ ...file, encoding: 'base64' as const }));
  return resultByClient01({ ...rest, changes: { ...changes, files } });
}
