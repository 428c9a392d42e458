import { createHash } from 'node:crypto';
import { deserialize, serialize } from 'node:v8';
import { KatafleetError } from '../core/errors.ts';
import type { RunRequest, RunResult } from '../core/run.ts';

/** Before each value, so that another form can be told from this one. */
const version = 1;

/** @throws request.invalid for files that are streams: what is accepted must be whole */
export function encodeRequest(request: RunRequest): Buffer {
  for (const { path, content } of request.files) {
    if (!(content instanceof Uint8Array)) {
      throw new KatafleetError('request.invalid', `${path}: a run that is written down carries its files whole, not as streams`);
    }
  }
  return encode(request);
}

export const encodeResult = (result: RunResult): Buffer => encode(result);

/** Bytes and bigints stay what they are: V8's own form, which later versions read. */
function encode(value: object): Buffer {
  return Buffer.concat([Buffer.from([version]), serialize(value)]);
}

/** @throws journal.broken */
export const decodeRequest = (bytes: Buffer): RunRequest => decode(bytes) as RunRequest;
export const decodeResult = (bytes: Buffer): RunResult => decode(bytes) as RunResult;

function decode(bytes: Buffer): unknown {
  if (bytes[0] !== version)
    throw new KatafleetError('journal.broken', `the journal holds a value of the unknown form ${bytes[0] ?? 'none'}`);
  return revive(deserialize(bytes.subarray(1)));
}

/** Buffers come back as plain Uint8Arrays in older forms; the rest of katafleet counts on Buffers. */
function revive(value: unknown): unknown {
  if (value instanceof Uint8Array) return Buffer.isBuffer(value) ? value : Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  if (Array.isArray(value)) return value.map(revive);
  if (typeof value !== 'object' || value === null) return value;
  for (const [key, inner] of Object.entries(value))
    Object.defineProperty(value, key, { value: revive(inner), enumerable: true, writable: true });
  return value;
}

export const hashOf = (bytes: Buffer): Buffer => createHash('sha256').update(bytes).digest();
