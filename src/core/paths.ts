import { KatafleetError } from './errors.ts';

/** Bounds of a path in a sandbox, the same as in docs/protocol.md. */
export const pathLimits = { bytes: 4095, part: 255, parts: 64 } as const;

const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * A path's bytes as text that loses nothing: UTF-8 where it is UTF-8; each other byte 0x80–0xFF becomes the lone
 * surrogate U+DC80–U+DCFF, which valid UTF-8 never yields (the scheme of PEP 383).
 */
export function decodePath(bytes: Uint8Array): string {
  try {
    return strictUtf8.decode(bytes);
  } catch {
    return decodeWithEscapes(bytes);
  }
}

function decodeWithEscapes(bytes: Uint8Array): string {
  let text = '';
  let at = 0;
  while (at < bytes.length) {
    const length = sequenceLength(bytes, at);
    if (length === 0) {
      text += String.fromCharCode(0xdc00 + (bytes[at] ?? 0));
      at += 1;
    } else {
      text += strictUtf8.decode(bytes.subarray(at, at + length));
      at += length;
    }
  }
  return text;
}

/** Length of the valid UTF-8 sequence at an index, 0 if there is none. */
function sequenceLength(bytes: Uint8Array, at: number): number {
  const lead = bytes[at] ?? 0;
  const length = lead < 0x80 ? 1 : lead >= 0xc2 && lead < 0xe0 ? 2 : lead >= 0xe0 && lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
  if (length === 0 || lead === 0x80) return 0;
  try {
    strictUtf8.decode(bytes.subarray(at, at + length));
    return at + length <= bytes.length ? length : 0;
  } catch {
    return 0;
  }
}

/** The bytes of {@link decodePath}'s text. */
export function encodePath(text: string): Buffer {
  if (text.isWellFormed()) return Buffer.from(text, 'utf8');
  const parts = Array.from(text, (character) => {
    const code = character.charCodeAt(0);
    const escaped = character.length === 1 && code >= 0xdc80 && code <= 0xdcff;
    return escaped ? Buffer.from([code - 0xdc00]) : Buffer.from(character, 'utf8');
  });
  return Buffer.concat(parts);
}

/** What is wrong with a path into a sandbox, or undefined: relative, no empty, `.` or `..` part, within the bounds. */
export function pathFault(path: Uint8Array): string | undefined {
  if (path.length === 0) return 'is empty';
  if (path.length > pathLimits.bytes) return `is longer than ${pathLimits.bytes} bytes`;
  let start = 0;
  let parts = 0;
  for (let at = 0; at <= path.length; at += 1) {
    const byte = at === path.length ? 0x2f : path[at];
    if (byte === 0) return 'contains a byte 0';
    if (byte !== 0x2f) continue;
    const length = at - start;
    if (length === 0) return at === 0 ? 'is absolute' : 'has an empty part';
    if (length > pathLimits.part) return `has a part longer than ${pathLimits.part} bytes`;
    if (path[start] === 0x2e && (length === 1 || (length === 2 && path[start + 1] === 0x2e))) return 'has a part "." or ".."';
    parts += 1;
    start = at + 1;
  }
  return parts > pathLimits.parts ? `has more than ${pathLimits.parts} parts` : undefined;
}

/** The bytes of a path that may go into a sandbox. @throws files.path */
export function sandboxPath(text: string): Buffer {
  const path = encodePath(text);
  const fault = pathFault(path);
  if (fault !== undefined) {
    throw new KatafleetError('files.path', `the path ${JSON.stringify(text)} ${fault}; paths are relative to the sandbox folder`);
  }
  return path;
}
