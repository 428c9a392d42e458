import { malformed } from './malformed.ts';

/** Parses `docker ps -a -q --no-trunc`: one id on each line. @throws engine.failed */
export function parseIds(text: string): string[] {
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '')
    .map((line) => {
      if (!/^[0-9a-f]{64}$/.test(line)) throw malformed('ps', 'whole ids, one a line', line);
      return line;
    });
}
