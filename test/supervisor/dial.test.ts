import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Conversation } from '../../src/protocol/conversation.ts';
import { encodeFrame, hostFrame } from '../../src/protocol/frames.ts';
import { challenge, type Caller, dialFrame, DialHost, frame, opening, welcome } from '../support/dial-host.ts';
import { Dialler, names } from '../support/dialler.ts';
import { eventually } from '../support/eventually.ts';

const key = randomBytes(32);
const nothing = { version: 2, nonce: key, payload: Buffer.alloc(0) };

async function ends(supervisor: Dialler, code = 0): Promise<void> {
  assert.equal(await supervisor.exit, code, supervisor.stderr);
  assert.doesNotMatch(supervisor.stderr, /Sanitizer|runtime error/);
}

describe('supervisor: dialling', function () {
  before(function () {
    if (process.getuid?.() !== 0) this.skip(); // the network namespace is root's to empty
  });

  it('a whole run over a connection that it dialled', async () => {
    await using host = await DialHost.listen(key);
    await using supervisor = await Dialler.start(host.port, key);
    const caller = await host.caller();
    const conversation = await caller.open();
    const result = await caller.run(conversation, ['sh', '-c', 'cat; echo err >&2; exit 3'], { step: { stdin: Buffer.from('given') } });
    assert.deepEqual(result.outcome, { kind: 'exited', code: 3 });
    assert.deepEqual([result.stdout.toString(), result.stderr.toString()], ['given', 'err\n']);
    await conversation.send(encodeFrame(hostFrame.close));
    await ends(supervisor);
    assert.equal(supervisor.stderr, '');
  });

  it('reads bytes after WELCOME in the same piece as the protocol', async () => {
    await using host = await DialHost.listen(key);
    await using supervisor = await Dialler.start(host.port, key);
    const caller = await host.caller();
    const conversation = await caller.admit(1000, opening());
    await conversation.hello();
    assert.equal((await caller.run(conversation, ['echo', 'x'])).stdout.toString(), 'x\n');
    caller.destroy();
    await ends(supervisor);
  });

  it('tells the names of its environment, none of which the user’s code gets', async () => {
    await using host = await DialHost.listen(key);
    await using supervisor = await Dialler.start(host.port, key);
    const first = await host.caller();
    const answer = await first.challenged();
    assert.deepEqual(answer?.names, Object.values(names));
    assert.equal(answer.version, 2);
    first.destroy();
    const caller = await host.caller();
    const again = await caller.challenged();
    assert.notDeepEqual(again?.nonce, answer.nonce, 'a nonce is used once');
    caller.destroy();
    const third = await host.caller();
    const conversation = await third.open();
    const said = await third.run(conversation, ['env']);
    assert.doesNotMatch(said.stdout.toString(), /KATAFLEET/);
    third.destroy();
    await ends(supervisor);
  });

  it('takes the highest version that both speak, and says in its nonce when it speaks a higher one', async () => {
    for (const [highest, version, end] of [
      [1, 1, '4b41544100000002'],
      [2, 2, undefined],
      [9, 2, undefined],
    ] as const) {
      await using host = await DialHost.listen(key);
      await using supervisor = await Dialler.start(host.port, key);
      const caller = await host.caller();
      const answer = await caller.challenged(highest);
      assert.equal(answer?.version, version);
      const said = answer.nonce.subarray(24).toString('hex');
      if (end !== undefined) assert.equal(said, end);
      else assert.doesNotMatch(said, /^4b415441/);
      await caller.welcomed(answer).hello();
      supervisor.child.kill('SIGTERM');
      await ends(supervisor);
    }
  });

  it('every byte of the secret’s file counts: a line’s end, the 4096th', async () => {
    for (const secret of [Buffer.from('line\n'), Buffer.alloc(4096, 'k'), Buffer.from([0])]) {
      await using host = await DialHost.listen(secret);
      await using supervisor = await Dialler.start(host.port, secret);
      const caller = await host.caller();
      await (await caller.admit()).hello();
      supervisor.child.kill('SIGTERM');
      await ends(supervisor);
    }
  });

  it('takes an IPv6 address', async () => {
    await using host = await DialHost.listen(key, '::1');
    await using supervisor = await Dialler.start(`[::1]:${host.port}`, key);
    await (await (await host.caller()).admit()).hello();
    supervisor.child.kill('SIGINT');
    await ends(supervisor);
  });

  describe('leaves a host that does not prove itself, and dials again', () => {
    const other = randomBytes(32);
    const cases: Record<string, (caller: Caller) => Promise<void> | void> = {
      'its own proof is not taken': async (caller) => {
        await caller.challenged();
        caller.say(frame(dialFrame.refused, Buffer.from([2, 0, 2, 0x6e, 0x6f])));
      },
      'it is refused before it was asked': (caller) => caller.say(frame(dialFrame.refused, Buffer.from([3, 0, 0]))),
      'an empty refusal': (caller) => caller.say(frame(dialFrame.refused)),
      'the host knows another secret': async (caller) => {
        const answer = await caller.challenged();
        caller.say(welcome(other, answer ?? nothing, caller.asked, 1000));
      },
      'WELCOME is for another nonce': async (caller) => {
        const answer = await caller.challenged();
        caller.say(welcome(key, { ...nothing, ...answer, payload: randomBytes(100) }, caller.asked, 1000));
      },
      'WELCOME’s heartbeat is not the one that was proved': async (caller) => {
        const answer = await caller.challenged();
        const forged = welcome(key, answer ?? nothing, caller.asked, 1000);
        forged.writeUInt32BE(1, forged.length - 4);
        caller.say(forged);
      },
      'WELCOME is for other versions than it was offered': async (caller) => {
        const answer = await caller.challenged();
        caller.say(welcome(key, answer ?? nothing, challenge(caller.nonce, 1, 3), 1000));
      },
      'WELCOME is that of an older version than it has chosen': async (caller) => {
        const answer = await caller.challenged();
        caller.say(welcome(key, { ...nothing, ...answer, version: 1 }, caller.asked, 1000));
      },
      'WELCOME is too long': async (caller) => {
        const answer = await caller.challenged();
        const right = welcome(key, answer ?? nothing, caller.asked, 1000);
        caller.say(frame(dialFrame.welcome, Buffer.concat([right.subarray(5), Buffer.alloc(1)])));
      },
      'WELCOME comes first': (caller) => caller.say(welcome(key, nothing, caller.asked, 1000)),
      'OPEN comes first': (caller) => caller.say(opening()),
      'OPEN in place of WELCOME': async (caller) => {
        await caller.challenged();
        caller.say(opening());
      },
      'another protocol': (caller) => caller.say(Buffer.from('SSH-2.0-OpenSSH_9.2p1 Debian\r\n')),
      'a frame of 1025 bytes': (caller) => caller.say(frame(dialFrame.challenge, Buffer.alloc(1025))),
      'a header that claims 4 GiB': (caller) => caller.say(Buffer.from([0x10, 0xff, 0xff, 0xff, 0xff])),
      'a challenge without KATA': (caller) => caller.say(frame(dialFrame.challenge, Buffer.alloc(40, 1))),
      'a challenge that is too short': (caller) => caller.say(challenge(Buffer.alloc(31))),
      'a challenge that is too long': (caller) => caller.say(challenge(Buffer.alloc(33))),
      'only newer versions': (caller) => caller.say(challenge(caller.nonce, 3, 4)),
      'only older versions': (caller) => caller.say(challenge(caller.nonce, 0, 0)),
      'the end in the middle of a frame': (caller) => void caller.socket.end(challenge(caller.nonce).subarray(0, 20)),
      'a reset': (caller) => void caller.socket.resetAndDestroy(),
    };
    for (const [what, act] of Object.entries(cases)) {
      it(what, async () => {
        await using host = await DialHost.listen(key);
        await using supervisor = await Dialler.start(host.port, key);
        const caller = await host.caller();
        await act(caller);
        await caller.left();
        assert.equal(await caller.answered(), undefined, 'nothing more was said');
        const next = await host.caller();
        await (await next.admit()).hello();
        supervisor.child.kill('SIGTERM');
        await ends(supervisor);
        assert.match(supervisor.stderr, /^supervisor: no connection to katafleet: [^\n]+\n$/);
      });
    }

    it('one that falls silent at whatever point', async () => {
      const points: ((caller: Caller) => unknown)[] = [
        () => undefined,
        (caller) => caller.say(challenge(caller.nonce).subarray(0, 3)),
        (caller) => caller.say(challenge(caller.nonce).subarray(0, 30)),
        (caller) => caller.challenged(),
        async (caller) => caller.say(welcome(key, (await caller.challenged()) ?? nothing, caller.asked, 0).subarray(0, 40)),
      ];
      await Promise.all(
        points.map(async (act) => {
          await using host = await DialHost.listen(key);
          await using supervisor = await Dialler.start(host.port, key);
          const caller = await host.caller();
          await act(caller);
          await caller.left();
          await (await (await host.caller()).admit()).hello();
          supervisor.child.kill('SIGTERM');
          await ends(supervisor);
        }),
      );
    });

    it('one with a wrong secret of its own proves nothing', async () => {
      await using host = await DialHost.listen(key);
      await using supervisor = await Dialler.start(host.port, other);
      assert.equal((await (await host.caller()).challenged())?.proves, false);
      supervisor.child.kill('SIGTERM');
      await ends(supervisor);
    });
  });

  describe('dials again', () => {
    it('until somebody listens', async () => {
      const gone = await DialHost.listen(key);
      const { port } = gone;
      await gone[Symbol.asyncDispose]();
      await using supervisor = await Dialler.start(port, key);
      await eventually('it has tried', 10, async () => assert.match(supervisor.stderr, /Connection refused/));
      await using host = await DialHost.listen(key, '127.0.0.1', port);
      await (await (await host.caller()).admit()).hello();
      supervisor.child.kill('SIGTERM');
      await ends(supervisor);
      assert.equal(supervisor.stderr.split('\n').length, 2, 'the same trouble is told once');
    });

    it('at each of several addresses, of which one is enough', async () => {
      await using host = await DialHost.listen(key, '127.0.0.3');
      await using supervisor = await Dialler.start([1, 2, 3, 4, 5].map((i) => `127.0.0.${i}:${host.port}`).join(), key);
      await (await (await host.caller()).admit()).hello();
      supervisor.child.kill('SIGTERM');
      await ends(supervisor);
    });

    it('when the connection is lost before OPEN: a new conversation, with nothing of the old one', async () => {
      await using host = await DialHost.listen(key);
      await using supervisor = await Dialler.start(host.port, key);
      const ways: ((caller: Caller) => unknown)[] = [
        (caller) => caller.destroy(),
        (caller) => caller.socket.resetAndDestroy(),
        (caller) => caller.socket.end(opening().subarray(0, 20)),
        (caller) => caller.socket.end(Buffer.concat([encodeFrame(hostFrame.ping, Buffer.from('old')), Buffer.from([1])])),
      ];
      for (const lose of ways) {
        const caller = await host.caller();
        await (await caller.admit(10)).hello();
        await caller.heartbeats(2);
        lose(caller);
      }
      const caller = await host.caller();
      const conversation = await caller.open();
      assert.equal((await caller.run(conversation, ['echo', 'x'])).stdout.toString(), 'x\n');
      caller.destroy();
      await ends(supervisor);
    });
  });

  describe('after OPEN', () => {
    /** A step that sleeps, and the id of a process that it left in the background. */
    async function sleeper(caller: Caller, conversation: Conversation): Promise<number> {
      return new Promise((resolve, reject) => {
        const onOutput = (_step: number, _stream: string, bytes: Buffer): void => resolve(Number(bytes));
        caller
          .run(conversation, ['sh', '-c', 'sleep 1007 & echo $!; sleep 1007'], { step: { limits: { wallMs: 50_000 } }, onOutput })
          .catch(reject);
      });
    }

    it('a lost connection ends the supervisor and all its processes, and it does not dial again', async () => {
      for (const lose of [(caller: Caller) => caller.destroy(), (caller: Caller) => caller.socket.resetAndDestroy()]) {
        await using host = await DialHost.listen(key);
        await using supervisor = await Dialler.start(host.port, key);
        const caller = await host.caller();
        const pid = await sleeper(caller, await caller.open());
        assert.doesNotThrow(() => process.kill(pid, 0));
        lose(caller);
        await ends(supervisor);
        assert.throws(() => process.kill(pid, 0), { code: 'ESRCH' });
        assert.equal(host.calls, 1);
      }
    });

    it('SIGTERM waits for the run; before, it ends it at once', async () => {
      await using host = await DialHost.listen(key);
      await using supervisor = await Dialler.start(host.port, key);
      const caller = await host.caller();
      const conversation = await caller.open();
      const script = 'echo ready; while ! [ -e go ]; do sleep 0.01; done; echo done';
      const result = await caller.run(conversation, ['sh', '-c', script], {
        onOutput: async (_step, _stream, bytes) => {
          if (bytes.toString() !== 'ready\n') return;
          for (const signal of ['SIGTERM', 'SIGINT'] as const) supervisor.child.kill(signal);
          await eventually('the signals are taken', 10, async () => assert.equal(await pendingSignals(supervisor), 0n));
          await writeFile(join(supervisor.folder, 'go'), '');
        },
      });
      assert.equal(result.stdout.toString(), 'ready\ndone\n');
      await conversation.send(encodeFrame(hostFrame.close));
      await ends(supervisor);
    });

    it('its lifetime ends it, and a break of the rules is still one', async () => {
      await using host = await DialHost.listen(key);
      await using lived = await Dialler.start(host.port, key);
      const conversation = await (await host.caller()).open(1000, 50);
      assert.deepEqual(await spoken(conversation), { kind: 'fail', reason: 'lifetime' });
      await ends(lived);
      await using broken = await Dialler.start(host.port, key);
      const other = await (await host.caller()).open();
      await other.send(opening());
      assert.deepEqual(await spoken(other), { kind: 'fail', reason: 'protocol' });
      await ends(broken, 64);
    });
  });

  describe('before OPEN', () => {
    it('SIGTERM ends it at once, wherever it is', async () => {
      await using host = await DialHost.listen(key);
      const points: ((caller: Caller) => unknown)[] = [
        () => undefined,
        (caller) => caller.say(challenge(caller.nonce).subarray(0, 7)),
        (caller) => caller.challenged(),
        async (caller) => (await caller.admit()).hello(),
      ];
      for (const act of points) {
        await using supervisor = await Dialler.start(host.port, key);
        await act(await host.caller());
        supervisor.child.kill('SIGTERM');
        await ends(supervisor);
      }
      const { port } = host;
      await host[Symbol.asyncDispose]();
      await using supervisor = await Dialler.start(port, key);
      await eventually('it has tried', 10, async () => assert.match(supervisor.stderr, /refused/));
      supervisor.child.kill('SIGTERM');
      await ends(supervisor);
    });

    it('its lifetime bounds all of it: the dialling, a handshake, the waiting', async () => {
      await using host = await DialHost.listen(key);
      const args = ['--lifetime', '3000'];
      await using silent = await Dialler.start(host.port, key, { args });
      await host.caller();
      await ends(silent);
      await using idle = await Dialler.start(host.port, key, { args });
      const conversation = await (await host.caller()).admit();
      await conversation.hello();
      assert.deepEqual(await spoken(conversation), { kind: 'fail', reason: 'lifetime' });
      await ends(idle);
      const { port } = host;
      await host[Symbol.asyncDispose]();
      await using alone = await Dialler.start(port, key, { args });
      await ends(alone);
    });

    it('CLOSE ends it, a break of the rules too', async () => {
      await using host = await DialHost.listen(key);
      for (const [said, code] of [
        [encodeFrame(hostFrame.close), 0],
        [encodeFrame(hostFrame.collect), 64],
      ] as const) {
        await using supervisor = await Dialler.start(host.port, key);
        const conversation = await (await host.caller()).admit();
        await conversation.hello();
        await conversation.send(said);
        await ends(supervisor, code);
      }
    });
  });
});

/** The next reply, without its words. */
async function spoken(conversation: Conversation): Promise<Record<string, unknown>> {
  const reply = await conversation.next();
  return reply.kind === 'fail' ? { kind: reply.kind, reason: reply.reason } : { kind: reply.kind };
}

/** The set of signals that have been sent to it and that it has not looked at. */
async function pendingSignals(supervisor: Dialler): Promise<bigint> {
  const status = await readFile(`/proc/${supervisor.child.pid}/status`, 'utf8');
  return BigInt(`0x${/^ShdPnd:\t(\w+)$/m.exec(status)?.[1] ?? 'none'}`) & ~(1n << 16n); // children end all the time
}
