import assert from 'node:assert/strict';
import { encodeFrame, hostFrame } from '../../src/protocol/frames.ts';
import type { Reply } from '../../src/protocol/replies.ts';
import { encodeDelete, encodeExec, encodeFile, encodeOpen } from '../../src/protocol/requests.ts';
import { anExecution } from '../support/execution.ts';
import { PipedSupervisor, user } from '../support/supervisor.ts';

const opening = encodeOpen({ ...user, lifetimeMs: 60_000, filesBack: 10, fileBack: 1000, bytesBack: 10_000 });
const path = (text: string) => encodeFile({ path: Buffer.from(text), mode: 0o644, mtimeNs: 0n }, 0);
const execution = anExecution({ wallMs: 60_000 });

const breaks: Record<string, Buffer[]> = {
  'a frame before OPEN': [encodeFrame(hostFrame.collect)],
  'OPEN twice': [opening, opening],
  'root as the user': [encodeOpen({ uid: 0, gid: 1, lifetimeMs: 1, filesBack: 1, fileBack: 1, bytesBack: 1 })],
  'an unknown frame': [opening, encodeFrame(0x7f)],
  'a header that claims 4 GiB': [Buffer.from([2, 0xff, 0xff, 0xff, 0xff])],
  'an absolute path': [opening, path('/etc/passwd')],
  'a path that climbs': [opening, path('a/../../b')],
  'a path with an empty part': [opening, path('a//b')],
  'a path of 65 parts': [opening, path(Array(65).fill('a').join('/'))],
  'a byte 0 in a path': [opening, path('a\0b')],
  'a part of 256 bytes': [opening, path('x'.repeat(256))],
  'DATA without an announced file': [opening, encodeFrame(hostFrame.data, Buffer.from('x'))],
  'more DATA than announced': [
    opening,
    encodeFile({ path: Buffer.from('f'), mode: 0, mtimeNs: 0n }, 1),
    encodeFrame(hostFrame.data, Buffer.from('xy')),
  ],
  'another frame inside a file': [opening, encodeFile({ path: Buffer.from('f'), mode: 0, mtimeNs: 0n }, 1), encodeDelete(Buffer.from('f'))],
  'a payload with bytes left over': [opening, encodeFrame(hostFrame.delete, Buffer.from([0, 1, 0x61, 0]))],
  'a payload that is too short': [opening, encodeFrame(hostFrame.exec, Buffer.alloc(10))],
  'EXEC without arguments': [opening, encodeExec({ ...execution, argv: [] }) ?? Buffer.alloc(0)],
  'EXEC without time': [opening, encodeExec({ ...execution, wallMs: 0 }) ?? Buffer.alloc(0)],
  'a variable without a name': [opening, encodeExec({ ...execution, env: ['=x'] }) ?? Buffer.alloc(0)],
  'a frame while a step runs': [
    opening,
    encodeExec({ ...execution, argv: ['sleep', '1005'] }) ?? Buffer.alloc(0),
    encodeFrame(hostFrame.collect),
  ],
};

async function fails(supervisor: PipedSupervisor): Promise<Extract<Reply, { kind: 'fail' }>> {
  for (;;) {
    const reply = await supervisor.conversation.next();
    if (reply.kind === 'fail') return reply;
  }
}

describe('supervisor: protocol', () => {
  for (const [what, frames] of Object.entries(breaks)) {
    it(`breaks the connection on ${what}`, async () => {
      await using supervisor = await PipedSupervisor.start();
      await supervisor.conversation.send(...frames);
      assert.equal((await fails(supervisor)).reason, 'protocol');
      assert.equal(await supervisor.exit, 64);
      assert.equal(supervisor.stderr, '', 'no sanitizer spoke');
    });
  }

  it('refuses a version that it does not speak', async () => {
    await using supervisor = await PipedSupervisor.start();
    const frame = Buffer.from(opening);
    frame.writeUInt16BE(99, 5);
    await supervisor.conversation.send(frame);
    assert.equal((await fails(supervisor)).reason, 'version');
    assert.equal(await supervisor.exit, 64);
  });

  it('answers PING while it is idle', async () => {
    await using supervisor = await (await PipedSupervisor.start()).open();
    await supervisor.conversation.send(encodeFrame(hostFrame.ping, Buffer.from('hello')));
    assert.deepEqual(await supervisor.conversation.next(), { kind: 'pong', bytes: Buffer.from('hello') });
  });

  it('exits with 0 on CLOSE, at the end of the stream, and when its lifetime is over', async () => {
    await using closed = await (await PipedSupervisor.start()).open();
    await closed.conversation.send(encodeFrame(hostFrame.close));
    assert.equal(await closed.exit, 0);

    await using ended = await (await PipedSupervisor.start()).open();
    await ended.conversation.send(encodeExec({ ...execution, argv: ['sleep', '1006'] }) ?? Buffer.alloc(0));
    assert.equal((await ended.conversation.next()).kind, 'started');
    ended.stream.end();
    assert.equal(await ended.exit, 0);

    await using idle = await PipedSupervisor.start('--lifetime', '50');
    assert.equal((await fails(idle)).reason, 'lifetime');
    assert.equal(await idle.exit, 0);

    await using lived = await (await PipedSupervisor.start()).open({}, 50);
    assert.equal((await fails(lived)).reason, 'lifetime');
    assert.equal(await lived.exit, 0);
  });
});
