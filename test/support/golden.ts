import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** The folder with the records of each release, see README.md there. */
export const goldenFolder = fileURLToPath(new URL('../golden/', import.meta.url));

/** More bytes than this are compared by their hash. */
const mostInline = 4_096;

/** Bytes that an expectation compares by their hash. */
class Digest {
  readonly sha256: string;
  readonly length: number;

  constructor(sha256: string, length: number) {
    this.sha256 = sha256;
    this.length = length;
  }
}

/** Stands for a field that must be undefined. A field that an expectation does not name may have any value. */
const absent = Symbol('absent');
const hashOf = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

/** Writes an expectation as JSON; bytes, bigints and undefined fields keep their type. */
export function goldenJson(value: unknown): string {
  const tagged = function (this: unknown, key: string, said: unknown): unknown {
    const own = (this as Record<string, unknown>)[key]; // before a Buffer's own toJSON
    if (own instanceof Uint8Array)
      return own.length > mostInline
        ? { $sha256: hashOf(own), length: own.length }
        : { $base64: Buffer.from(own.buffer, own.byteOffset, own.length).toString('base64') };
    if (typeof own === 'bigint') return { $bigint: String(own) };
    return own === undefined ? { $absent: true } : said;
  };
  return `${JSON.stringify(value, tagged, 1)}\n`;
}

/** Reads what {@link goldenJson} wrote. */
export function readExpectation(file: string): unknown {
  return JSON.parse(readFileSync(file, 'utf8'), (_key, value: unknown): unknown => {
    if (typeof value !== 'object' || value === null) return value;
    const { $base64, $bigint, $sha256, $absent, length } = value as Record<string, string> & { length: number };
    if ($base64 !== undefined) return Buffer.from($base64, 'base64');
    if ($bigint !== undefined) return BigInt($bigint);
    if ($sha256 !== undefined) return new Digest($sha256, length);
    return $absent === undefined ? value : absent;
  });
}

/** Fails if the actual value lacks something expected. Objects may have more fields, which later releases added. */
export function assertHolds(actual: unknown, expected: unknown, where: string): void {
  if (expected === absent) {
    assert.equal(actual, undefined, where);
  } else if (expected instanceof Digest) {
    assert.ok(actual instanceof Uint8Array, `${where}: bytes are expected`);
    assert.deepEqual([actual.length, hashOf(actual)], [expected.length, expected.sha256], where);
  } else if (expected instanceof Uint8Array) {
    assert.ok(Buffer.isBuffer(actual), `${where}: a Buffer is expected`);
    assert.equal(actual.toString('hex'), Buffer.from(expected).toString('hex'), where);
  } else if (Array.isArray(expected)) {
    assert.ok(Array.isArray(actual), `${where}: a list is expected`);
    assert.equal(actual.length, expected.length, `${where}: length`);
    for (const [index, each] of expected.entries()) assertHolds(actual[index], each, `${where}[${index}]`);
  } else if (typeof expected === 'object' && expected !== null) {
    assert.ok(typeof actual === 'object' && actual !== null, `${where}: an object is expected`);
    for (const [key, each] of Object.entries(expected)) {
      assert.ok(each === absent || Object.hasOwn(actual, key), `${where}: ${JSON.stringify(key)} is missing`);
      assertHolds((actual as Record<string, unknown>)[key], each, `${where}.${key}`);
    }
  } else {
    assert.equal(actual, expected, where);
  }
}
