import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import fc from 'fast-check';
import {
  answerProves,
  decodeAnswer,
  decodeChallenge,
  decodeRefused,
  decodeWelcome,
  downgraded,
  encodeAnswer,
  encodeChallenge,
  encodeRefused,
  encodeWelcome,
  welcomeProves,
} from '../../../src/protocol/dial.ts';
import { ProtocolBreak } from '../../../src/protocol/frames.ts';
import { sentinelNonce, someKey, someNonce, someTask } from '../../support/dialer.ts';

const hostNonce = Buffer.alloc(32, 0xaa);
const payload = (frame: Buffer) => frame.subarray(5);

describe('dial: the handshake’s frames', () => {
  const example = { service: 's', secret: 'k', task: 't', node: 'n' };

  it('are those of the example in docs/protocol.md', () => {
    const answer = encodeAnswer(someKey, hostNonce, someNonce, example, 1);
    const vouched = `4b4154410001${'bb'.repeat(32)}00017300016b00017400016e`;
    const proof = createHmac('sha256', someKey).update('katafleet dial 1 task\0').update(hostNonce).update(Buffer.from(vouched, 'hex'));
    assert.equal(answer.toString('hex'), `9000000052${vouched}${proof.digest('hex')}`);
    const welcome = createHmac('sha256', someKey).update('katafleet dial 1 host\0').update(someNonce).update(hostNonce);
    const mac = welcome.update(Buffer.from('000003e8', 'hex')).digest('hex');
    assert.equal(encodeWelcome(someKey, decodeAnswer(payload(answer)), hostNonce, 1000).toString('hex'), `1100000024${mac}000003e8`);
    assert.equal(encodeChallenge(hostNonce).toString('hex'), `10000000284b41544100010002${'aa'.repeat(32)}`);
    assert.equal(encodeRefused('busy', 'no').toString('hex'), '12000000050300026e6f');
  });

  it('have these proofs, computed elsewhere', () => {
    for (const [version, proof, welcomed] of [
      [
        1,
        '4496b1c8385e3693155d06e31cbdf1f875c8c18508241fadb882fa213aeb6a84',
        '8f10bc33a09e36669b289c67e1c35b08ced6f34d5f4b7b6d2f433e6dd3319cc8',
      ],
      [
        2,
        '916279f6ebfe36d227f17bd6cdba2739f2598717ed507d1aea29f4dd1a2278fb',
        'acda60b145840ad591cf6ae34bfd1eafac7755bfd018493f30bde71b48114210',
      ],
    ] as const) {
      const answer = decodeAnswer(payload(encodeAnswer(someKey, hostNonce, someNonce, example, version)));
      const { mac } = decodeWelcome(payload(encodeWelcome(someKey, answer, hostNonce, 1000)));
      assert.deepEqual([answer.mac.toString('hex'), mac.toString('hex')], [proof, welcomed]);
    }
  });

  it('tell a supervisor that was not offered what it speaks from one that is older', () => {
    for (const [nonce, version, told] of [
      [someNonce, 1, false],
      [sentinelNonce, 1, true],
      [sentinelNonce, 2, false],
      [someNonce, 2, false],
      [Buffer.concat([sentinelNonce.subarray(0, 31), Buffer.from([1])]), 1, false],
    ] as const)
      assert.equal(downgraded(decodeAnswer(payload(encodeAnswer(someKey, hostNonce, nonce, example, version)))), told);
  });

  it('come out as they went in', () => {
    const word = fc.string({ maxLength: 60 });
    fc.assert(
      fc.property(word, word, word, word, fc.uint8Array({ minLength: 1, maxLength: 100 }), (service, secret, task, node, bytes) => {
        const key = Buffer.from(bytes);
        const answer = decodeAnswer(payload(encodeAnswer(key, hostNonce, someNonce, { service, secret, task, node })));
        assert.deepEqual([answer.service, answer.secret, answer.task, answer.node], [service, secret, task, node]);
        assert.ok(answerProves(key, hostNonce, answer));
      }),
    );
    assert.deepEqual(decodeChallenge(payload(encodeChallenge(hostNonce))), { lowest: 1, highest: 2, nonce: hostNonce });
    assert.deepEqual(decodeRefused(payload(encodeRefused('wrongSecret', 'no'))), { why: 'wrongSecret', words: 'no' });
  });

  for (const version of [1, 2])
    it(`prove nothing once a bit is changed, version ${version}`, () => {
      const frame = payload(encodeAnswer(someKey, hostNonce, someNonce, someTask, version));
      const answered = decodeAnswer(Buffer.from(frame));
      for (let bit = 0; bit < frame.length * 8; bit += 1) {
        const forged = Buffer.from(frame);
        forged.writeUInt8(forged.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
        let proved: boolean;
        try {
          proved = answerProves(someKey, hostNonce, decodeAnswer(forged));
        } catch (error) {
          assert.ok(error instanceof ProtocolBreak);
          proved = false;
        }
        assert.ok(!proved, `bit ${bit}`);
      }
      const welcome = decodeWelcome(payload(encodeWelcome(someKey, answered, hostNonce, 1000)));
      assert.ok(welcomeProves(someKey, answered, hostNonce, welcome));
      assert.ok(!welcomeProves(someKey, answered, hostNonce, { ...welcome, heartbeatMs: 0 }));
      assert.ok(!welcomeProves(someKey, answered, someNonce, welcome));
      assert.ok(!welcomeProves(someKey, { ...answered, version: 3 - version }, hostNonce, welcome));
    });

  it('end in a ProtocolBreak when they are anything else', () => {
    for (const decode of [decodeAnswer, decodeChallenge, decodeWelcome, decodeRefused]) {
      fc.assert(
        fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
          try {
            decode(Buffer.from(bytes));
          } catch (error) {
            assert.ok(error instanceof ProtocolBreak);
          }
        }),
      );
      assert.throws(() => decode(Buffer.alloc(0)), ProtocolBreak);
    }
    const answer = payload(encodeAnswer(someKey, hostNonce, someNonce, someTask));
    assert.throws(() => decodeAnswer(Buffer.concat([answer, Buffer.alloc(1)])), ProtocolBreak);
    answer.writeUInt16BE(3, 4);
    assert.throws(() => decodeAnswer(answer), /version 3/);
  });
});
