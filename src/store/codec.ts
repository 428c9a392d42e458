import { createHash } from 'node:crypto';
import { DefaultSerializer, deserialize } from 'node:v8';
import { KatafleetError, messageOf } from '../model/errors.ts';
import { encodePath } from '../model/paths.ts';
import type { RunRequest } from '../model/request.ts';
import { RunResult } from '../model/result.ts';
import { youngerFields } from '../model/younger.ts';
import type { SplitResult } from './apart.ts';

/** The first byte of each value, so that another format can be told from this one. */
const version = 1;

/** Encodes a request. @throws request.invalid for files that are streams: an accepted request must be complete */
export function encodeRequest(request: RunRequest): Buffer {
  for (const { path, content } of request.files) {
    if (!(content instanceof Uint8Array)) {
      throw new KatafleetError('request.invalid', `${path}: a run that is written down carries its files whole, not as streams`);
    }
  }
  return encode(request);
}

export const encodeResult = (result: SplitResult): Buffer => encode(result);

/** Encodes in V8's own format, which keeps bytes and bigints and which later versions read. */
function encode(value: object): Buffer {
  const serializer = new DefaultSerializer();
  serializer.writeRawBytes(Buffer.from([version])); // a concatenation would copy everything
  serializer.writeHeader();
  serializer.writeValue(value);
  return serializer.releaseBuffer();
}

/** Decodes a request. @throws journal.broken */
export const decodeRequest = (bytes: Buffer): RunRequest => decode(bytes) as RunRequest;
const withYounger = youngerFields(RunResult);
/** Decodes a result. One of an older release has all its files in it, and lacks newer fields. */
export const decodeResult = (bytes: Buffer): SplitResult => withYounger(decode(bytes) as SplitResult);

function decode(bytes: Buffer): unknown {
  if (bytes[0] !== version) throw new KatafleetError('journal.broken', `the journal has a value of the unknown form ${bytes[0] ?? 'none'}`);
  try {
    return revive(deserialize(bytes.subarray(1)));
  } catch (cause) {
    throw new KatafleetError('journal.broken', `the journal has a value that can't be read: ${messageOf(cause)}`, { cause });
  }
}

/** Converts Uint8Arrays, which older formats have, to Buffers, which the rest of katafleet needs. */
function revive(value: unknown): unknown {
  if (value instanceof Uint8Array) return Buffer.isBuffer(value) ? value : Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  if (Array.isArray(value)) return value.map(revive);
  if (typeof value !== 'object' || value === null) return value;
  for (const [key, inner] of Object.entries(value))
    Object.defineProperty(value, key, { value: revive(inner), enumerable: true, writable: true });
  return value;
}

/**
 * Returns the SHA-256 of a value. It is the same for the same content, whatever the order of the keys and the version of V8. Undefined
 * fields count as absent.
 */
export function hashOf(value: unknown): Buffer {
  const hash = createHash('sha256');
  digest(value, (kind, bytes) => hash.update(`${kind}${bytes.length}:`).update(bytes));
  return hash.digest();
}

/** Adds each part after its kind and its length, so that no two values give the same bytes. */
function digest(value: unknown, add: (kind: string, bytes: Uint8Array) => void): void {
  if (value instanceof Uint8Array) {
    add('b', value);
  } else if (Array.isArray(value)) {
    add('a', Buffer.from(String(value.length)));
    for (const inner of value) digest(inner, add);
  } else if (typeof value === 'object' && value !== null) {
    const entries = Object.entries(value).filter(([, inner]) => inner !== undefined);
    add('o', Buffer.from(String(entries.length)));
    for (const [key, inner] of entries.sort(([a], [b]) => (a < b ? -1 : 1))) {
      add('k', encodePath(key));
      digest(inner, add);
    }
  } else {
    const text = String(value);
    // Lone surrogates have no UTF-8; encodePath gives each of them its own bytes.
    add(typeof value, text.isWellFormed() ? Buffer.from(text) : encodePath(text));
  }
}
