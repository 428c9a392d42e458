import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { encodeFrame, hostFrame } from '../../src/protocol/frames.ts';
import { type Caller, DialHost, opening } from '../support/dial-host.ts';
import { Dialler } from '../support/dialler.ts';

const key = randomBytes(32);
const MiB = 1024 * 1024;

describe('supervisor: signs of life of one that dialled', function () {
  before(function () {
    if (process.getuid?.() !== 0) this.skip(); // the network namespace is root's to empty
  });

  async function dialled(use: (caller: Caller, supervisor: Dialler) => Promise<void>): Promise<void> {
    await using host = await DialHost.listen(key);
    await using supervisor = await Dialler.start(host.port, key);
    const caller = await host.caller();
    await use(caller, supervisor);
    caller.destroy();
    supervisor.child.kill('SIGTERM'); // one that was never opened dials again
    assert.equal(await supervisor.exit, 0);
    assert.doesNotMatch(supervisor.stderr, /Sanitizer|runtime error/);
  }

  it('come while it waits for OPEN, for work, and for a step that sleeps', () =>
    dialled(async (caller, supervisor) => {
      const conversation = await caller.admit(10);
      await conversation.hello();
      await caller.heartbeats(3);
      await conversation.send(opening());
      await caller.heartbeats(3);
      const result = await caller.run(conversation, ['sh', '-c', 'echo; while ! [ -e go ]; do sleep 0.01; done'], {
        onOutput: async () => {
          await caller.heartbeats(3);
          await writeFile(join(supervisor.folder, 'go'), '');
        },
      });
      assert.deepEqual(result.outcome, { kind: 'exited', code: 0 });
    }));

  it('come while it reads much that it has nothing to say about', () =>
    dialled(async (caller, supervisor) => {
      const conversation = await caller.open(10);
      const big = join(supervisor.folder, 'big');
      await writeFile(big, '');
      await truncate(big, 512 * MiB);
      const before = caller.alive;
      await conversation.send(encodeFrame(hostFrame.baseline));
      const reply = await conversation.next();
      const during = caller.alive - before;
      assert.deepEqual(reply, { kind: 'collected', files: 1, bytes: 512 * MiB, omitted: 0 });
      assert.ok(during > 20, `${during} in the time that it takes to read so much`);
    }));

  it('do not get into what it sends: a file of many frames, a flood of output', () =>
    dialled(async (caller) => {
      const conversation = await caller.open(1);
      const flood = await caller.run(conversation, ['sh', '-c', 'head -c 8000000 /dev/zero; head -c 5000000 /dev/zero >file'], {
        profile: { stdout: 8 * MiB },
      });
      assert.equal(flood.stdout.length, 8_000_000);
      await conversation.send(encodeFrame(hostFrame.collect));
      let bytes = 0;
      for (;;) {
        const reply = await conversation.next();
        if (reply.kind === 'data') bytes += reply.bytes.length;
        if (reply.kind === 'collected') break;
      }
      assert.equal(bytes, 5_000_000);
    }));

  it('sends no ALIVE if the host asks for none', () =>
    dialled(async (caller) => {
      const conversation = await caller.open(0);
      await caller.run(conversation, ['sleep', '0.3']);
      assert.equal(caller.alive, 0);
    }));

  it('a host that is well and does not read for long keeps its run', () =>
    dialled(async (caller) => {
      const conversation = await caller.open();
      let paused = false;
      const result = await caller.run(conversation, ['sh', '-c', 'head -c 30000000 /dev/zero | tr "\\0" x; echo end >&2'], {
        step: { limits: { wallMs: 50_000 } },
        profile: { stdout: 32 * MiB },
        onOutput: async () => {
          if (paused) return;
          paused = true;
          // Longer than the kernel and the supervisor wait for a dead one; no condition tells that they do not mistake it.
          await sleep(7000);
        },
      });
      assert.equal(result.stdoutBytes, 30_000_000);
      assert.deepEqual([result.outcome, result.stderr.toString()], [{ kind: 'exited', code: 0 }, 'end\n']);
    }));
});
