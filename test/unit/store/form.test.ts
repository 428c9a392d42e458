import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { RunRequest } from '../../../src/model/request.ts';
import { decode, encode, joined } from '../../../src/store/form/record.ts';
import { farContents } from '../../../src/store/form/result.ts';
import { hashOf } from '../../../src/store/hash.ts';
import { anyResult } from '../../support/any-result.ts';
import { refuses } from '../../support/stored.ts';

const never = () => assert.fail('nothing is far');
const bytesOf = (value: object) => Buffer.from(joined(encode(value)));
const back = (value: object) => decode(bytesOf(value), never);

describe('the store: the form of records', () => {
  const bytes = fc.uint8Array({ maxLength: 50 }).map((array) => Buffer.from(array));
  const plain = { noNullPrototype: true };
  const file = fc.record(
    {
      path: fc.string({ unit: 'binary', minLength: 1 }),
      mode: fc.nat(0o7777),
      mtimeNs: fc.bigInt(-(2n ** 63n), 2n ** 63n),
      content: bytes,
    },
    plain,
  );
  const step = fc.record({ argv: fc.array(fc.string(), { minLength: 1 }), stdin: bytes, required: fc.boolean() }, plain);

  it('gives bytes and time stamps back as they were', () => {
    fc.assert(
      fc.property(fc.array(file), fc.array(step), fc.boolean(), (files, steps, collect) => {
        const whole: RunRequest = { image: 'x', files, steps, collect, profile: { memory: 5 } };
        const read = back(whole) as RunRequest;
        assert.deepEqual(read, whole);
        assert.ok(read.files.every(({ content }) => Buffer.isBuffer(content)));
      }),
    );
  });

  it('gives results back as they were', () => {
    fc.assert(fc.property(anyResult, (whole) => assert.deepEqual(back(whole), whole)));
  });

  it('gives back any value, also one that looks like the form’s own words', () => {
    const word = fc.constantFrom('$bytes', '$bigint', '$object', '$far', '$number', '$', '__proto__', 'a');
    const { value } = fc.letrec((tie) => ({
      value: fc.oneof(
        { maxDepth: 4 },
        fc.constantFrom(null, true, 'x', '\udc80', 1.5, -0, NaN, Infinity, 5n, -(2n ** 70n)),
        bytes,
        fc.array(tie('value'), { maxLength: 3 }),
        fc.dictionary(word, tie('value'), { maxKeys: 2, noNullPrototype: true }),
      ),
    }));
    fc.assert(
      fc.property(fc.dictionary(word, value, { noNullPrototype: true }), (whole) => assert.deepEqual(back(whole), whole)),
      { numRuns: 500 },
    );
  });

  it('can be read without katafleet: JSON, then the contents', () => {
    const record = bytesOf({ path: 'a', content: Buffer.from('hello'), mtimeNs: 5n });
    assert.equal(record[0], 2);
    const head = record.readUInt32LE(1);
    assert.deepEqual(JSON.parse(record.toString('utf8', 11, 11 + head)), {
      path: 'a',
      content: { $bytes: [0, 5] },
      mtimeNs: { $bigint: '5' },
    });
    assert.equal(record.toString('utf8', 11 + head), 'hello');
  });

  it('puts large files at the end, where a range of a file is a range of the record', () => {
    const files = [{ content: Buffer.alloc(300_000, 'ö') }, { content: Buffer.from('small') }, { content: Buffer.alloc(300_001, 0xff) }];
    const encoded = encode({ files }, farContents(files));
    const record = Buffer.from(joined(encoded));
    const far: unknown[] = [];
    const read = decode(record.subarray(0, encoded.nearBytes), (of) => (far.push(of), of));
    assert.deepEqual(far, [
      { at: 0, length: 300_000, utf8: true },
      { at: 300_000, length: 300_001, utf8: false },
    ]);
    assert.deepEqual((read as typeof encoded & { files: unknown[] }).files[1], { content: Buffer.from('small') });
    assert.ok(record.subarray(encoded.nearBytes, encoded.nearBytes + 300_000).equals(files[0]?.content ?? Buffer.alloc(0)));
  });

  it('refuses an unknown form, and a record that is cut or lies', () => {
    const bad = (record: Buffer) => assert.throws(() => decode(record, never), refuses('journal.broken'));
    const whole = bytesOf({ content: Buffer.from('hello') });
    bad(Buffer.from([9, 1, 2]));
    bad(Buffer.alloc(0));
    for (let cut = 0; cut < whole.length; cut += 1) bad(whole.subarray(0, cut));
    for (const lie of ['[0,6]', '[-1,2]', '[0.5,1]', '["a",1]', '7']) {
      const head = Buffer.from(`{"content":{"$bytes":${lie}}}`);
      const record = Buffer.concat([Buffer.alloc(11), head, Buffer.from('hello')]);
      record.writeUInt8(2, 0);
      record.writeUInt32LE(head.length, 1);
      record.writeUIntLE(5, 5, 6);
      bad(record);
    }
  });
});

describe('the store: the hash of a request', () => {
  it('is of what is said, not of the order in which it is said', async () => {
    const same = await hashOf({ a: 1, b: { c: 'x', d: undefined } });
    assert.ok(same.equals(await hashOf({ b: { c: 'x' }, a: 1 })));
    const others = [
      { a: '1', b: { c: 'x' } },
      { a: 1, b: { c: 'xd' } },
      { a: 1, b: ['c', 'x'] },
      { a: 1n, b: { c: 'x' } },
      { a: 1, b: { c: Buffer.from('x') } },
    ];
    for (const other of others) assert.ok(!same.equals(await hashOf(other)));
    assert.ok(!(await hashOf(['ab', 'c'])).equals(await hashOf(['a', 'bc'])));
    assert.ok(!(await hashOf({ x: '\udc80' })).equals(await hashOf({ x: '\udc81' })), 'names that are not UTF-8 are told apart');
  });

  it('is that of release 0.1, of large texts too, whose letters lie across pieces', async () => {
    const hex = async (value: unknown) => (await hashOf(value)).toString('hex');
    assert.equal(await hex({ text: `a${'😀'.repeat(700_000)}` }), '6e24121c7ce3a68987b3447427dad726064c64d386076b285dfdedb8eb0f82b2');
    assert.equal(
      await hex({ bytes: Buffer.alloc(3_000_001, 7), n: 5n, list: [null, true], name: '\udc80' }),
      '22cff88413be2bf871a18525fec7e4d5afb9df63e6101296deb9524c337bb7e5',
    );
  });
});
