import { StringDecoder } from 'node:string_decoder';
import pc from 'picocolors';

/** Returns colours for a stream: none if it is not a terminal, or if NO_COLOR or TERM=dumb is set. */
export function colours(stream: NodeJS.WriteStream): ReturnType<typeof pc.createColors> {
  const plain = process.env['NO_COLOR'] || process.env['TERM'] === 'dumb';
  // Its type says otherwise, but isTTY is absent for other streams, and picocolors would then decide by itself.
  const terminal = (stream as { isTTY?: boolean }).isTTY ?? false;
  return pc.createColors(terminal && !plain);
}

/** Escapes control characters except line feeds and tabs: a program's output must not control the terminal. */
export function escapeControls(text: string): string {
  return text
    .replace(/\r\n/g, '\n')
    .replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, (character) => {
      const code = character.charCodeAt(0);
      return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u${code.toString(16).padStart(4, '0')}`;
    });
}

/** As {@link escapeControls}, on one line: a message must not look like two lines of a log or two rows of a table. */
export function escapeLine(text: string): string {
  return escapeControls(text).replace(/[\n\u2028\u2029]/g, (character) => (character === '\n' ? '\\n' : ' '));
}

/**
 * Returns a function that writes a program's output: unchanged to a pipe or a file, escaped to a terminal. It waits for a slow reader,
 * but not for one that has closed the stream.
 */
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
