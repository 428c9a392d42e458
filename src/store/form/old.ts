import { deserialize } from 'node:v8';
import { KatafleetError, messageOf } from '../../model/errors.ts';

/** Values of release 0.1: V8's own format after a byte 1. They are only read, when a journal of that release is moved to this form. */

/** How release 0.1 wrote a large file of a result: as rows of their own from `first` on. */
export interface OldApart {
  first: number;
  count: number;
  bytes: number;
  utf8: boolean;
}

/** A result of release 0.1. */
export interface OldResult {
  changes: { files: { content: Buffer | OldApart }[] };
}

/** @throws journal.broken */
export function decodeOld(bytes: Buffer): object {
  if (bytes[0] !== 1) throw new KatafleetError('journal.broken', `the journal has a value of the unknown form ${bytes[0] ?? 'none'}`);
  try {
    return revive(deserialize(bytes.subarray(1))) as object;
  } catch (cause) {
    throw new KatafleetError('journal.broken', `the journal has a value that can't be read: ${messageOf(cause)}`, { cause });
  }
}

/** Converts Uint8Arrays, which the oldest values have, to Buffers. */
function revive(value: unknown): unknown {
  if (value instanceof Uint8Array) return Buffer.isBuffer(value) ? value : Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  if (Array.isArray(value)) return value.map(revive);
  if (typeof value !== 'object' || value === null) return value;
  for (const [key, inner] of Object.entries(value))
    Object.defineProperty(value, key, { value: revive(inner), enumerable: true, writable: true });
  return value;
}
