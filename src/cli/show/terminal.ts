import { StringDecoder } from 'node:string_decoder';
import pc from 'picocolors';

/** Colours for a stream: only where it is a terminal and nobody asked for none (NO_COLOR, TERM=dumb). */
export function colours(stream: NodeJS.WriteStream): ReturnType<typeof pc.createColors> {
  const plain = process.env['NO_COLOR'] || process.env['TERM'] === 'dumb';
  // Elsewhere isTTY is absent, whatever its type says, and picocolors would guess by itself.
  const terminal = (stream as { isTTY?: boolean }).isTTY ?? false;
  return pc.createColors(terminal && !plain);
}

/** Text with control characters shown escaped, line feeds and tabs apart: what a program prints must not steer the terminal. */
export function escapeControls(text: string): string {
  return text
    .replace(/\r\n/g, '\n')
    .replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, (character) => {
      const code = character.charCodeAt(0);
      return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u${code.toString(16).padStart(4, '0')}`;
    });
}

/** {@link escapeControls} on one line: a message must not look like two lines of a log, or two rows of a table. */
export function escapeLine(text: string): string {
  return escapeControls(text).replace(/[\n\u2028\u2029]/g, (character) => (character === '\n' ? '\\n' : ' '));
}

/** Hands a program's output on: as it is to a pipe or a file, escaped to a terminal. Waits for a slow reader, not for one that left. */
export function outputTo(stream: NodeJS.WriteStream): (bytes: Buffer) => Promise<void> {
  const decoder = new StringDecoder('utf8');
  return async (bytes) => {
    const out = stream.isTTY ? escapeControls(decoder.write(bytes)) : bytes;
    if (!stream.writable || stream.write(out)) return;
    await new Promise<void>((resolve) => {
      const go = () => {
        stream.off('drain', go).off('close', go);
        resolve();
      };
      stream.once('drain', go).once('close', go);
    });
  };
}
