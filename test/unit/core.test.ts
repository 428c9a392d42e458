import assert from 'node:assert/strict';
import fc from 'fast-check';
import { errorKinds, KatafleetError } from '../../src/model/errors.ts';
import { decodePath, encodePath, pathFault, sandboxPath } from '../../src/model/paths.ts';
import { profileOf } from '../../src/model/profile.ts';

const code = (expected: string) => (error: unknown) => error instanceof KatafleetError && error.code === expected;

describe('core: paths', () => {
  it('any bytes survive being text', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => assert.deepEqual(new Uint8Array(encodePath(decodePath(bytes))), bytes)),
      { numRuns: 5_000 },
    );
  });

  it('any text without escapes of its own survives being bytes', () => {
    fc.assert(fc.property(fc.string({ unit: 'grapheme' }), (text) => assert.equal(decodePath(encodePath(text)), text)));
  });

  it('only relative paths without tricks are let in', () => {
    for (const bad of [
      '',
      '/etc/passwd',
      '..',
      '.',
      'a/..',
      '../a',
      'a//b',
      'a/',
      'a/./b',
      'a\0b',
      'x'.repeat(256),
      Array(65).fill('a').join('/'),
      'a/'.repeat(2500) + 'a',
    ]) {
      assert.throws(() => sandboxPath(bad), code('files.path'), JSON.stringify(bad));
    }
    for (const good of ['a', '...', '..a', 'a/b', '-rf', 'new\nline', ' ', 'x'.repeat(255), Array(64).fill('a').join('/')])
      assert.equal(pathFault(sandboxPath(good)), undefined);
  });
});

describe('core: profile', () => {
  it('has defaults, and names each field at fault', () => {
    assert.equal(profileOf().memory, 512 * 1024 * 1024);
    assert.throws(
      () => profileOf({ memory: 1, cpus: -1 }),
      (error: KatafleetError) => code('limits.invalid')(error) && /memory:.*cpus:/.test(error.message),
    );
    assert.throws(() => profileOf({ network: true } as object), code('limits.invalid'), 'unknown fields are faults');
    assert.throws(() => profileOf({ wallMs: Number.NaN }), code('limits.invalid'));
  });
});

describe('core: errors', () => {
  it('each kind has a status and an exit code that no program’s outcome uses by mistake', () => {
    for (const [name, kind] of Object.entries(errorKinds)) {
      assert.ok(kind.http >= 400 && kind.http < 600, name);
      assert.ok((kind.exit > 0 && kind.exit < 124) || name === 'run.cancelled', name);
      // Only what is full now, or came too slowly, can be had later without a change by the caller.
      assert.ok(kind.fault !== 'user' || (kind.http < 500 && kind.retry === [408, 429].includes(kind.http)), name);
    }
  });
});
