import { createHash } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { KiB, MiB } from '../base/units.ts';
import { encodePath } from '../model/paths.ts';

/** A value of at most this size is hashed at once; of a larger one, this much in one turn of the event loop. */
const atOnce = MiB;
/** Characters of a text that are converted at once. */
const textAtOnce = 256 * KiB;

/**
 * Returns the SHA-256 of a value. It is the same for the same content, whatever the order of the keys. Undefined fields count as absent.
 * A large value does not hold up the event loop.
 */
export async function hashOf(value: unknown): Promise<Buffer> {
  const hash = createHash('sha256');
  let fresh = 0;
  for (const bytes of parts(value)) {
    for (let at = 0; at < bytes.length; at += atOnce) {
      const part = bytes.subarray(at, at + atOnce);
      hash.update(part);
      fresh += part.length;
      if (fresh < atOnce) continue;
      fresh = 0;
      await setImmediate();
    }
  }
  return hash.digest();
}

const counted = (kind: string, length: number) => Buffer.from(`${kind}${length}:`);

/** Yields each part after its kind and its length, so that no two values give the same bytes. */
function* parts(value: unknown): Generator<Uint8Array> {
  if (value instanceof Uint8Array) {
    yield counted('b', value.length);
    yield value;
  } else if (Array.isArray(value)) {
    yield* short('a', Buffer.from(String(value.length)));
    for (const inner of value) yield* parts(inner);
  } else if (typeof value === 'object' && value !== null) {
    const entries = Object.entries(value).filter(([, inner]) => inner !== undefined);
    yield* short('o', Buffer.from(String(entries.length)));
    for (const [key, inner] of entries.sort(([a], [b]) => (a < b ? -1 : 1))) {
      yield* short('k', encodePath(key));
      yield* parts(inner);
    }
  } else yield* text(typeof value, String(value));
}

function* short(kind: string, bytes: Uint8Array): Generator<Uint8Array> {
  yield counted(kind, bytes.length);
  yield bytes;
}

/** Lone surrogates have no UTF-8; encodePath gives each of them its own bytes. */
function* text(kind: string, value: string): Generator<Uint8Array> {
  if (!value.isWellFormed()) {
    yield* short(kind, encodePath(value));
    return;
  }
  yield counted(kind, Buffer.byteLength(value));
  for (let at = 0; at < value.length;) {
    let end = Math.min(value.length, at + textAtOnce);
    if (end < value.length && isLowSurrogate(value.charCodeAt(end))) end += 1;
    yield Buffer.from(value.slice(at, end));
    at = end;
  }
}

const isLowSurrogate = (code: number) => code >= 0xdc00 && code <= 0xdfff;

/** The first byte of a hash of a request as the client sent it. The oldest journals have the bare 32 bytes of a hash of the parsed request. */
const sentRequestMark = Buffer.from([2]);

/**
 * Hashes requests as clients sent them, before defaults are filled in: defaults may change before a client repeats a request. Each value
 * is hashed once.
 */
export class RequestHashes {
  readonly #known = new WeakMap<object, Promise<Uint8Array>>();

  of(sent: object): Promise<Uint8Array> {
    let hash = this.#known.get(sent);
    if (!hash) {
      hash = hashOf(sent).then((bytes) => Uint8Array.from([...sentRequestMark, ...bytes]));
      this.#known.set(sent, hash);
    }
    return hash;
  }
}
