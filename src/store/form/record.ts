import { KatafleetError, messageOf } from '../../model/errors.ts';

/**
 * The form of requests and results on disk, version 2. Any language can read it:
 * - a byte, the version: 2;
 * - the length of the head, 4 bytes, little-endian;
 * - the length of the near contents, 6 bytes, little-endian;
 * - the head: JSON in UTF-8;
 * - the near contents, then the far contents: bytes, one after another. A range of a content is a range of the record.
 *
 * In the head, `{"$bytes": [AT, LENGTH]}` stands for a near content; AT counts from the first near content. `{"$far": [AT, LENGTH, UTF8]}`
 * stands for a far one; AT counts from the first far content, and UTF8 says whether it is text. `{"$bigint": "DIGITS"}` and
 * `{"$number": "NaN"}` stand for what JSON lacks. An object whose only key begins with `$` is `{"$object": {…}}`.
 */
export const version = 2;
/** Bytes before the head. */
export const prefixBytes = 11;

/** A record in parts: they share the memory of the contents, because each copy of a whole result would need that much again. */
export interface Encoded {
  /** The prefix with the head, and the near contents. */
  near: Uint8Array[];
  nearBytes: number;
  far: FarContent[];
  farBytes: number;
}

/** A far content: its bytes, or something that knows where they are. */
export type FarContent = Uint8Array | Elsewhere;

/** Stands in a value for bytes that are not in memory when it is encoded. */
export class Elsewhere {
  readonly length: number;
  readonly utf8: boolean;
  readonly read: () => Iterable<Uint8Array>;

  constructor(length: number, utf8: boolean, read: () => Iterable<Uint8Array>) {
    this.length = length;
    this.utf8 = utf8;
    this.read = read;
  }
}

/** A far content of a record; `at` counts from the first far one. */
export interface Far {
  at: number;
  length: number;
  utf8: boolean;
}

/** Encodes a value. @param far says of a content whether it is far, and then whether it is text; none is if absent */
export function encode(value: object, far: (content: Uint8Array) => { utf8: boolean } | undefined = () => undefined): Encoded {
  const near: Uint8Array[] = [];
  const apart: FarContent[] = [];
  let [nearAt, farAt] = [0, 0];
  const content = (bytes: FarContent) => {
    const { length } = bytes;
    const is = bytes instanceof Elsewhere ? bytes : far(bytes);
    if (is === undefined) {
      near.push(bytes as Uint8Array);
      nearAt += length;
      return { $bytes: [nearAt - length, length] };
    }
    apart.push(bytes);
    farAt += length;
    return { $far: [farAt - length, length, is.utf8] };
  };
  const plain = (inner: unknown): unknown => {
    switch (typeof inner) {
      case 'bigint':
        return { $bigint: String(inner) };
      case 'number':
        return Number.isFinite(inner) && !Object.is(inner, -0) ? inner : { $number: Object.is(inner, -0) ? '-0' : String(inner) };
      case 'object':
        if (inner === null) return null;
        if (inner instanceof Uint8Array || inner instanceof Elsewhere) return content(inner);
        return Array.isArray(inner) ? inner.map(plain) : plainObject(inner as Record<string, unknown>, plain);
      default:
        return inner;
    }
  };
  const head = Buffer.from(JSON.stringify(plain(value)));
  const prefix = Buffer.allocUnsafe(prefixBytes);
  prefix.writeUInt8(version, 0);
  prefix.writeUInt32LE(head.length, 1);
  prefix.writeUIntLE(nearAt, 5, 6);
  return { near: [prefix, head, ...near], nearBytes: prefixBytes + head.length + nearAt, far: apart, farBytes: farAt };
}

function plainObject(value: Record<string, unknown>, plain: (inner: unknown) => unknown): object {
  const made: Record<string, unknown> = {};
  let [keys, last] = [0, ''];
  for (const key in value) {
    const inner = value[key];
    if (inner === undefined) continue;
    keys += 1;
    last = key;
    if (key === '__proto__') Object.defineProperty(made, key, { value: plain(inner), enumerable: true });
    else made[key] = plain(inner);
  }
  return keys === 1 && last.startsWith('$') ? { $object: made } : made;
}

/** Copies an encoded record into one buffer of its own: nothing else is in that memory, so it can be sent to a thread. */
export function joined({ near, far, nearBytes, farBytes }: Encoded): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(nearBytes + farBytes);
  let at = 0;
  for (const part of [near, far].flat()) {
    for (const bytes of part instanceof Elsewhere ? part.read() : [part]) {
      whole.set(bytes, at);
      at += bytes.length;
    }
  }
  return whole;
}

/**
 * Decodes a record.
 * @param near the record up to its far contents
 * @param far makes what stands for a far content
 * @throws journal.broken
 */
export function decode(near: Buffer, far: (of: Far) => unknown): object {
  if (near[0] !== version) throw broken(`it has the unknown form ${near[0] ?? 'none'}`);
  try {
    const headBytes = near.readUInt32LE(1);
    const contents = near.subarray(prefixBytes + headBytes);
    if (contents.length < near.readUIntLE(5, 6)) throw new Error('it is cut');
    const content = (at: number, length: number) => {
      if (!Number.isSafeInteger(at) || !Number.isSafeInteger(length) || at < 0 || length < 0 || at + length > contents.length)
        throw new Error('a content lies outside of it');
      return contents.subarray(at, at + length);
    };
    const value: unknown = JSON.parse(near.toString('utf8', prefixBytes, prefixBytes + headBytes));
    if (typeof value !== 'object' || value === null) throw new Error('it is no object');
    return revive(value, content, far) as object;
  } catch (cause) {
    throw broken(messageOf(cause), cause);
  }
}

/** Puts what JSON lacks back into an object or a list, in place. */
function revive(value: object, content: (at: number, length: number) => Buffer, far: (of: Far) => unknown): unknown {
  if (Array.isArray(value)) {
    for (const [index, inner] of (value as unknown[]).entries())
      if (typeof inner === 'object' && inner !== null) value[index] = revive(inner, content, far);
    return value;
  }
  const keys = Object.keys(value);
  const [key = ''] = keys;
  const of = value as Record<string, unknown>;
  if (keys.length === 1 && key.startsWith('$')) return special(key, of[key], content, far);
  return inside(of, keys, content, far);
}

function inside(
  of: Record<string, unknown>,
  keys: readonly string[],
  content: (at: number, length: number) => Buffer,
  far: (of: Far) => unknown,
): object {
  for (const key of keys) {
    const inner = of[key];
    if (typeof inner !== 'object' || inner === null) continue;
    const revived = revive(inner, content, far);
    if (revived !== inner) Object.defineProperty(of, key, { value: revived, enumerable: true, writable: true, configurable: true });
  }
  return of;
}

function special(key: string, value: unknown, content: (at: number, length: number) => Buffer, far: (of: Far) => unknown): unknown {
  if (key === '$bytes') return content(...(value as [number, number]));
  if (key === '$bigint') return BigInt(value as string);
  if (key === '$number') return Number(value);
  if (key === '$object') return inside(value as Record<string, unknown>, Object.keys(value as object), content, far);
  if (key !== '$far') throw new Error(`it has a value of the unknown kind ${key}`);
  const [at, length, utf8] = value as [number, number, boolean];
  if (!Number.isSafeInteger(at) || !Number.isSafeInteger(length) || at < 0 || length < 0) throw new Error('a content lies outside of it');
  return far({ at, length, utf8 });
}

const broken = (why: string, cause?: unknown) =>
  new KatafleetError('journal.broken', `the journal has a record that can't be read: ${why}`, cause === undefined ? {} : { cause });
