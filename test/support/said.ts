import { spawnSync } from 'node:child_process';

export interface Said {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** Runs a command to its end; returns its output as text. The command may end before it has read its input. */
export function said(
  command: string,
  words: readonly string[],
  { input = '', env = {} }: { input?: string | Buffer; env?: NodeJS.ProcessEnv } = {},
): Said {
  const { status, stdout, stderr, error } = spawnSync(command, words, {
    input,
    encoding: 'utf8',
    env: { ...process.env, ...env },
    maxBuffer: 1 << 28,
  });
  if (error && !(status !== null && 'code' in error && error.code === 'EPIPE')) throw error;
  return { code: status, stdout, stderr };
}
