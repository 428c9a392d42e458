import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import fc from 'fast-check';
import { KatafleetError } from '../../../src/model/errors.ts';
import { decodePath, encodePath, pathBytes } from '../../../src/model/paths.ts';
import { profileOf } from '../../../src/model/profile.ts';
import { noChanges } from '../../../src/model/result.ts';
import { ConversationLost } from '../../../src/protocol/conversation.ts';
import { supervisorFrame } from '../../../src/protocol/frames.ts';
import { decodeReply } from '../../../src/protocol/replies.ts';
import { PayloadWriter } from '../../../src/protocol/wire.ts';
import { answerLimits, beforeOf, download, listing } from '../../../src/runs/attempt/download.ts';
import { Gathered } from '../../../src/runs/attempt/gathered.ts';
import { SandboxState } from '../../../src/runs/sessions/sandbox-state.ts';
import { frames, longPath, saying } from '../../support/hostile-supervisor.ts';

const bytewiseOutput = fileURLToPath(new URL('../../support/bytewise-output.ts', import.meta.url));
const broken = (error: unknown) => error instanceof KatafleetError && error.code === 'protocol.broken';
const name = (text: string) => Buffer.from(text);
function* numbered(count: number, make: (number: number) => Uint8Array): Generator<Uint8Array> {
  for (let number = 0; number < count; number += 1) yield make(number);
}
const heap = () => {
  globalThis.gc?.();
  return process.memoryUsage().heapUsed;
};

describe('bounds on what a sandbox sends', () => {
  it('a name that is no UTF-8 costs what its letters cost', () => {
    const path = longPath(0);
    const kept: string[] = [];
    const before = heap();
    for (let times = 0; times < 500; times += 1) kept.push(decodePath(path));
    const each = (heap() - before) / kept.length;
    assert.ok(each < 64 * 1024, `${Math.round(each / 1024)} KiB of heap for a name of 4 KiB`); // 8 KiB, and what is not collected yet
  });

  it('counts the bytes of a name as its encoding has them', () => {
    const unit = fc.oneof(fc.constantFrom('\udc80', '\udcff', '\ud800', '\udfff', 'é', '€', '😀', 'a'), fc.string({ maxLength: 3 }));
    fc.assert(
      fc.property(fc.array(unit, { maxLength: 20 }), (parts) => {
        const text = parts.join('');
        assert.equal(pathBytes(text), encodePath(text).length);
      }),
      { numRuns: 5_000 },
    );
  });

  it('counts folders beyond the number of files that come back as omitted', async () => {
    const conversation = saying([...numbered(2_000, (number) => frames.dir(name(`d${number}`))), frames.collected(0, 0, 3)]);
    const changes = await download(conversation, profileOf({ filesBack: 10 }));
    assert.equal(changes.folders.length, 10);
    assert.deepEqual(changes.omitted[0], { path: 'd10', reason: 'too_many' });
    assert.deepEqual([changes.omitted.length, changes.omittedCount], [answerLimits.listed, 2_000 - 10 + 3]);
  });

  it('counts names beyond their bytes as omitted, files with their contents among them', async () => {
    const count = Math.ceil(answerLimits.names / 4_090) + 100;
    const sent = numbered(count, (number) => Buffer.concat([frames.file(longPath(number), 2), frames.data(name('xy'))]));
    const changes = await download(saying([...sent, frames.collected(count, 2 * count, 0)]), profileOf({ filesBack: 100_000 }));
    const kept = Math.floor(answerLimits.names / 4_090);
    assert.equal(changes.files.length, kept);
    assert.equal(changes.omittedCount, count - kept);
    assert.ok(changes.omitted.every(({ reason }) => reason === 'too_much'));
    assert.ok(changes.omitted.length <= answerLimits.listedBytes / 4_090, 'and what is omitted is named within bytes too');
  });

  it('ends a supervisor that deletes more than there was', async () => {
    const before = beforeOf(['a', 'b']);
    assert.deepEqual(before, { entries: 2, bytes: 2 });
    const kept = await download(saying([frames.deleted(name('a')), frames.collected(0, 0, 0)]), profileOf(), before);
    assert.deepEqual(kept.deleted, ['a']);
    await assert.rejects(
      download(saying(numbered(3, () => frames.deleted(name('a')))), profileOf(), beforeOf(['a', 'b', 'c', 'd'].slice(0, 2))),
      broken,
    );
    await assert.rejects(download(saying([frames.deleted(name('long'))]), profileOf(), before), broken);
  });

  it('ends a supervisor that never stops, whatever it sends', async () => {
    for (const frame of [frames.dir(name('d')), frames.omitted(name('o')), frames.deleted(name('x'))])
      await assert.rejects(download(saying(numbered(Infinity, () => frame)), profileOf({ filesBack: 1 })), broken);
  });

  it('keeps no more than its bounds of any answer', async () => {
    const path = fc.oneof(
      fc.nat(5).map((number) => name(`p${number}`)),
      fc.nat(5).map(longPath),
    );
    const frame = fc.oneof(
      path.map((of) => frames.dir(of)),
      path.map((of) => frames.deleted(of)),
      path.map((of) => frames.omitted(of)),
      fc.tuple(path, fc.nat(20)).map(([of, size]) => frames.file(of, size)),
      fc.uint8Array({ minLength: 1, maxLength: 20 }).map(frames.data),
      fc.constant(frames.fail(5, 12, 'no memory', 'x')),
      fc.tuple(fc.nat(3), fc.nat(40), fc.nat(3)).map((of) => frames.collected(...of)),
    );
    const profile = profileOf({ filesBack: 2, fileBack: 16, bytesBack: 20 });
    await fc.assert(
      fc.asyncProperty(fc.array(frame, { maxLength: 30 }), async (sent) => {
        try {
          const { files, folders, deleted, omitted, omittedCount } = await download(saying(sent), profile, { entries: 3, bytes: 10_000 });
          assert.ok(files.length <= 2 && folders.length <= 2 && deleted.length <= 3);
          assert.ok(files.reduce((sum, { content }) => sum + content.length, 0) <= 20);
          assert.ok(omitted.length <= answerLimits.listed && omittedCount >= 0);
        } catch (error) {
          assert.ok(broken(error) || error instanceof ConversationLost, String(error));
        }
      }),
      { numRuns: 500 },
    );
  });

  it('tells a supervisor that gives up while it collects as a sandbox that was lost, so that its output is kept', async () => {
    for (const read of [download, listing])
      await assert.rejects(read(saying([frames.fail(3, 12, 'no memory to remember the files')]), profileOf()), ConversationLost);
  });

  it('keeps times to what 64 bits of nanoseconds hold', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), (seconds) => {
        const frame = frames.dir(name('d'), seconds);
        const reply = decodeReply({ type: supervisorFrame.dir, payload: frame.subarray(5) });
        assert.ok(reply.kind === 'dir');
        assert.match(String(reply.mtimeNs), /^-?\d{1,19}$/);
        if (seconds > -9_000_000_000n && seconds < 9_000_000_000n) assert.equal(reply.mtimeNs, seconds * 1_000_000_000n);
      }),
    );
  });

  it('cuts what a supervisor says of itself', () => {
    const long = new PayloadWriter().bytes(name('KATA')).u16(1).u16(1).u32(0).str('v'.repeat(60_000)).done();
    const hello = decodeReply({ type: supervisorFrame.hello, payload: long });
    assert.ok(hello.kind === 'hello' && hello.version.length <= 256);
    const fail = decodeReply({ type: supervisorFrame.fail, payload: frames.fail(5, 0, 'm'.repeat(60_000)).subarray(5) });
    assert.ok(fail.kind === 'fail' && fail.message.length <= 1_000);
  });

  it('keeps output that comes byte by byte in as many bytes', async () => {
    const most = 1024 * 1024;
    const { stdout } = await promisify(execFile)(process.execPath, ['--expose-gc', '--import', 'tsx', bytewiseOutput, String(most)]);
    const { kept, peak } = JSON.parse(stdout) as { kept: number; peak: number };
    assert.equal(kept, most);
    assert.ok(peak < 8 * most, `${Math.round(peak / most)} MiB of heap for 1 MiB of output`);
  });

  it('gathers pieces as they are, and never more than was agreed', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 500 }), { maxLength: 50 }), (pieces) => {
        const whole = Buffer.concat(pieces);
        const gathered = new Gathered(whole.length);
        for (const piece of pieces) gathered.add(piece);
        assert.deepEqual(gathered.last(3), whole.subarray(Math.max(0, whole.length - 3)));
        assert.deepEqual(gathered.done(), whole);
        assert.throws(() => gathered.add(Buffer.from('x')), RangeError);
      }),
    );
  });
});

describe('a session’s state', () => {
  it('forgets as many folders as there are in one pass', () => {
    const folders = Array.from({ length: 100_000 }, (_, number) => ({ path: `some/folder/of/mine/${number}`, mode: 0o755, mtimeNs: 0n }));
    const state = new SandboxState();
    state.returned({ ...noChanges(), folders });
    // The work is counted, not its time: each deleted path is looked at once, by the set that is made of it.
    let looked = 0;
    const deleted = new Proxy(
      folders.map(({ path }) => path),
      {
        get: (target, key, receiver) => {
          if (typeof key === 'string' && /^\d+$/.test(key)) looked += 1;
          return Reflect.get(target, key, receiver) as unknown;
        },
      },
    );
    state.returned({ ...noChanges(), deleted });
    assert.deepEqual([...state.known()], []);
    assert.equal(looked, folders.length);
  });

  it('keeps a folder that a tool made until it is told that it is gone', () => {
    const given = [{ path: 'd/given', mode: 0o644, mtimeNs: 0n, content: Buffer.from('x') }];
    const state = new SandboxState();
    state.sent(state.delta(given, []), given);
    state.returned({ ...noChanges(), folders: [{ path: 'd/made', mode: 0o755, mtimeNs: 0n }] });
    state.returned(noChanges()); // the supervisor knows it, and says nothing of it again
    assert.deepEqual(state.delta([], []).remove, ['d/given'], 'd stays, for d/made lies there');
    state.returned({ ...noChanges(), deleted: ['d/made'] });
    assert.deepEqual(state.delta([], []).remove, ['d']);
  });
});
