import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { createHash, createHmac, randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { challenge, readAnswer, welcome } from '../support/dial-host.ts';
import { sentinelNonce } from '../support/dialer.ts';

const headerBytes = 5;
const sources = ['sha256.c', 'handshake.c', 'random.c', 'wire.c'].map((name) =>
  fileURLToPath(new URL(`../../images/supervisor/${name}`, import.meta.url)),
);
const program = fileURLToPath(new URL('../support/dial-vectors.c', import.meta.url));

describe('supervisor: what the dial handshake computes', () => {
  let folder: string;
  const ask = (words: string[], input: Uint8Array, env: Record<string, string> = {}): string => {
    const done = spawnSync(join(folder, 'vectors'), words, { input, env });
    assert.equal(done.status, 0, done.stderr.toString());
    return done.stdout.toString().trim();
  };
  const sha256 = (message: Uint8Array) => ask(['sha256'], message);
  const hmac = (key: Uint8Array, message: Uint8Array) => ask(['hmac', Buffer.from(key).toString('hex')], message);

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'katafleet-vectors-'));
    const flags = ['-std=gnu11', '-D_GNU_SOURCE', '-fsanitize=address,undefined', '-fno-sanitize-recover=all'];
    await promisify(execFile)('gcc', [...flags, '-o', join(folder, 'vectors'), program, ...sources]);
  });
  after(() => rm(folder, { recursive: true }));

  it('SHA-256: the examples of FIPS 180-4', () => {
    assert.equal(sha256(Buffer.from('')), 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
    assert.equal(sha256(Buffer.from('abc')), 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
    assert.equal(
      sha256(Buffer.from('abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq')),
      '248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1',
    );
    assert.equal(sha256(Buffer.alloc(1_000_000, 'a')), 'cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0');
  });

  it('HMAC-SHA-256: the test cases of RFC 4231', () => {
    for (const [key, message, mac] of [
      [Buffer.alloc(20, 0x0b), Buffer.from('Hi There'), 'b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7'],
      [
        Buffer.from('Jefe'),
        Buffer.from('what do ya want for nothing?'),
        '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843',
      ],
      [Buffer.alloc(20, 0xaa), Buffer.alloc(50, 0xdd), '773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe'],
      [
        Buffer.from(Array.from({ length: 25 }, (_, i) => i + 1)),
        Buffer.alloc(50, 0xcd),
        '82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b',
      ],
      [
        Buffer.alloc(131, 0xaa),
        Buffer.from('Test Using Larger Than Block-Size Key - Hash Key First'),
        '60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54',
      ],
      [
        Buffer.alloc(131, 0xaa),
        Buffer.from(
          'This is a test using a larger than block-size key and a larger than block-size data. The key needs to be hashed before being used by the HMAC algorithm.',
        ),
        '9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2',
      ],
    ] as const)
      assert.equal(hmac(key, message), mac);
  });

  it('agrees with another implementation about every length around a block’s', () => {
    for (let length = 0; length <= 200; length += length > 40 && length < 140 ? 1 : 13) {
      const message = randomBytes(length);
      assert.equal(sha256(message), createHash('sha256').update(message).digest('hex'), `${length} bytes`);
      const key = randomBytes(length);
      assert.equal(hmac(key, message), createHmac('sha256', key).update(message).digest('hex'), `${length} bytes`);
    }
  });

  it('a handshake of which everything is known', async () => {
    const key = Buffer.from(Array.from({ length: 32 }, (_, i) => i));
    const host = Buffer.alloc(32, 0xaa);
    const task = Buffer.alloc(32, 0xbb);
    const file = join(folder, 'key');
    await writeFile(file, key);
    const names = { KATAFLEET_SERVICE: 's', KATAFLEET_SECRET: 'k', KATAFLEET_TASK: 't', KATAFLEET_NODE: 'n' };
    const words = Buffer.from('00017300016b00017400016e', 'hex');
    for (const { version, nonce, proof, accepted } of [
      {
        version: 1,
        nonce: sentinelNonce,
        proof: '0c3d96957b6e7033de1d4b193a00ffe1369cc1da834367a950b2170866e119c4',
        accepted: 'b690723db3a61b10469a907a30352b59f4dc788df39e12d56655f9f17bd550e6000003e8',
      },
      {
        version: 2,
        nonce: task,
        proof: '916279f6ebfe36d227f17bd6cdba2739f2598717ed507d1aea29f4dd1a2278fb',
        accepted: 'acda60b145840ad591cf6ae34bfd1eafac7755bfd018493f30bde71b48114210000003e8',
      },
    ]) {
      const asked = challenge(host, 1, version);
      const say = (welcomed: Uint8Array) =>
        ask(['dial', file], Buffer.concat([asked.subarray(headerBytes), task, welcomed]), names).split('\n');
      const payload = Buffer.concat([Buffer.from('KATA'), Buffer.from([0, version]), nonce, words, Buffer.from(proof, 'hex')]);
      const right = welcome(key, { version, nonce, payload }, asked, 1000).subarray(headerBytes);
      assert.equal(right.toString('hex'), accepted);
      assert.deepEqual(say(right), [payload.toString('hex'), 'welcome']);
      assert.deepEqual(readAnswer(payload, key, asked), { version, nonce, names: Object.values(names), proves: true, payload });
      for (let bit = 0; bit < right.length * 8; bit += 7) {
        const wrong = Buffer.from(right);
        wrong.writeUInt8(wrong.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
        assert.equal(say(wrong)[1], 'stranger', `version ${version}, bit ${bit}`);
      }
    }
  });
});
