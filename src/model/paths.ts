import { KatafleetError } from './errors.ts';

/** Bounds of a path in a sandbox, the same as in docs/protocol.md. */
export const pathLimits = { bytes: 4095, part: 255, parts: 64 } as const;

const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * Returns a path's bytes as text without loss. Valid UTF-8 is decoded; each other byte 0x80–0xFF becomes the lone surrogate
 * U+DC80–U+DCFF, which valid UTF-8 never gives (the scheme of PEP 383).
 */
export function decodePath(bytes: Uint8Array): string {
  try {
    return strictUtf8.decode(bytes);
  } catch {
    return decodeWithEscapes(bytes);
  }
}

/** Fills one array and makes one flat string of it: in a text that is joined character by character, V8 keeps a node for each. */
function decodeWithEscapes(bytes: Uint8Array): string {
  const units = new Uint16Array(bytes.length);
  let length = 0;
  for (let at = 0; at < bytes.length;) {
    const { point, size } = sequenceAt(bytes, at);
    if (point >= 0x10000) {
      units[length++] = 0xd7c0 + (point >> 10);
      units[length++] = 0xdc00 | (point & 0x3ff);
    } else {
      units[length++] = point;
    }
    at += size;
  }
  return Buffer.from(units.buffer, 0, length * 2).toString('utf16le');
}

/** Returns the code point of the valid UTF-8 sequence at an index and its size, else the escape of the one byte. */
function sequenceAt(bytes: Uint8Array, at: number): { point: number; size: number } {
  const lead = bytes[at] ?? 0;
  if (lead < 0x80) return { point: lead, size: 1 };
  const escaped = { point: 0xdc00 + lead, size: 1 };
  const size = lead >= 0xc2 && lead < 0xe0 ? 2 : lead >= 0xe0 && lead < 0xf0 ? 3 : lead >= 0xf0 && lead < 0xf5 ? 4 : 0;
  if (size === 0 || at + size > bytes.length) return escaped;
  let point = lead & (0xff >> (size + 1));
  for (let index = 1; index < size; index += 1) {
    const byte = bytes[at + index] ?? 0;
    if ((byte & 0xc0) !== 0x80) return escaped;
    point = (point << 6) | (byte & 0x3f);
  }
  const overlong = size === 3 ? point < 0x800 : size === 4 && point < 0x10000;
  const surrogate = point >= 0xd800 && point < 0xe000;
  return overlong || surrogate || point > 0x10ffff ? escaped : { point, size };
}

/** Returns the bytes of {@link decodePath}'s text. */
export function encodePath(text: string): Buffer {
  if (text.isWellFormed()) return Buffer.from(text, 'utf8');
  const bytes = Buffer.allocUnsafe(text.length * 3);
  let length = 0;
  for (const character of text) {
    const code = character.charCodeAt(0);
    const escaped = character.length === 1 && code >= 0xdc80 && code <= 0xdcff;
    if (escaped) bytes[length++] = code - 0xdc00;
    else length += bytes.write(character, length, 'utf8');
  }
  return Buffer.from(bytes.subarray(0, length));
}

/** Returns how many bytes {@link encodePath} gives, without making them. */
export function pathBytes(text: string): number {
  if (text.isWellFormed()) return Buffer.byteLength(text, 'utf8');
  let bytes = 0;
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code < 0x80 || (code >= 0xdc80 && code <= 0xdcff)) bytes += 1;
    else if (code < 0x800) bytes += 2;
    else if (code >= 0xd800 && code < 0xdc00 && (text.charCodeAt(at + 1) & 0xfc00) === 0xdc00) {
      bytes += 4;
      at += 1;
    } else bytes += 3;
  }
  return bytes;
}

/** Returns the fault of a path into a sandbox, or undefined. A path must be relative, without an empty, `.` or `..` part, and within the bounds. */
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

/** Returns the bytes of a path into a sandbox. @throws files.path */
export function sandboxPath(text: string): Buffer {
  const path = encodePath(text);
  const fault = pathFault(path);
  if (fault !== undefined) {
    throw new KatafleetError('files.path', `the path ${JSON.stringify(text)} ${fault}; paths are relative to the sandbox folder`);
  }
  return path;
}
