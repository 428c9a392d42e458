import { KiB } from '../base/units.ts';
import type { StepResult } from './result.ts';

export type Stream = 'stdout' | 'stderr';
type Printed = Pick<
  StepResult,
  | 'stdout'
  | 'stderr'
  | 'stdoutTail'
  | 'stderrTail'
  | 'stdoutOmitted'
  | 'stderrOmitted'
  | 'stdoutBytes'
  | 'stderrBytes'
  | 'stdoutCut'
  | 'stderrCut'
>;

/** If output is cut, its last bytes are kept too: as many as the cap, but at most this many. */
export const mostTail = 64 * KiB;

/** Returns how many bytes in the middle were dropped. Never negative, whatever a supervisor sends. */
export function omittedBytes(step: Printed, stream: Stream): number {
  if (!step[`${stream}Cut`]) return 0;
  return step[`${stream}Omitted`] ?? Math.max(0, step[`${stream}Bytes`] - step[stream].length);
}

/** The line that is shown where bytes were dropped. */
export const omissionLine = (bytes: number): string => `\n[katafleet: ${bytes} bytes of output left out here]\n`;

/** Returns output for people: its beginning, how much was dropped, its end. */
export function shownOutput(step: Printed, stream: Stream): Buffer {
  const omitted = omittedBytes(step, stream);
  const tail = step[`${stream}Tail`];
  if (omitted === 0 && tail === undefined) return step[stream];
  return Buffer.concat([step[stream], Buffer.from(omitted > 0 ? omissionLine(omitted) : ''), tail ?? Buffer.alloc(0)]);
}

/** Returns output for the rules of lights. The text after a gap is not the beginning of a line, because what came before it is unknown. */
export function judgedOutput(step: Partial<Printed> & Pick<Printed, Stream>, stream: Stream): string {
  const head = step[stream].toString('utf8');
  const tail = step[`${stream}Tail`]?.toString('utf8');
  if (tail === undefined) return head;
  return (step[`${stream}Omitted`] ?? 0) > 0 ? `${head}\n…${tail}` : head + tail;
}

/** Returns how many bytes at the end begin a UTF-8 character whose rest is missing: 0 to 3. */
export function unfinishedLetter(bytes: Uint8Array): number {
  for (let back = 1; back <= 3 && back <= bytes.length; back += 1) {
    const byte = bytes[bytes.length - back] ?? 0;
    if ((byte & 0xc0) === 0x80) continue;
    const length = byte >= 0xf0 && byte < 0xf5 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc2 ? 2 : 1;
    return byte < 0xf5 && length > back ? back : 0;
  }
  return 0;
}

/** Returns how many bytes at the beginning end a UTF-8 character whose beginning is missing: 0 to 3. */
export function restOfLetter(bytes: Uint8Array): number {
  let length = 0;
  while (length < 3 && length < bytes.length && ((bytes[length] ?? 0) & 0xc0) === 0x80) length += 1;
  return length;
}
