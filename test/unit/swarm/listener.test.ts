import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { KatafleetError } from '../../../src/model/errors.ts';
import { type SandboxReceiver, type Dialled, Listener, type ListenerOptions } from '../../../src/drivers/swarm/dial/listener.ts';
import { Conversation } from '../../../src/protocol/conversation.ts';
import { dialFrame, encodeAnswer } from '../../../src/protocol/dial.ts';
import { encodeFrame, hostFrame, supervisorFrame } from '../../../src/protocol/frames.ts';
import { PayloadWriter } from '../../../src/protocol/wire.ts';
import { aliveFrame, Dialer, sentinelNonce, someKey, someNonce, someTask } from '../../support/dialer.ts';
import { ManualPulse } from '../../support/pulse.ts';
import { until } from '../../support/until.ts';

const hello = encodeFrame(supervisorFrame.hello, new PayloadWriter().bytes(Buffer.from('KATA')).u16(1).u16(1).u32(0).str('test').done());

describe('swarm: the listener', () => {
  const listeners: Listener[] = [];
  const dialers: Dialer[] = [];
  const pulse = () => new ManualPulse();
  let port: number;
  let troubles: string[];
  let arrived: Dialled[];
  let awaited: ((dialled: Dialled) => void)[];

  beforeEach(() => {
    [troubles, arrived, awaited] = [[], [], []];
  });

  afterEach(async () => {
    for (const { socket } of dialers.splice(0)) socket.destroy();
    await Promise.all(listeners.splice(0).map((listener) => listener.close()));
  });

  const pool: SandboxReceiver = {
    keyOf: (secret) => (secret === someTask.secret ? someKey : undefined),
    take: (dialled) => {
      const wanted = awaited.shift();
      if (wanted) wanted(dialled);
      else arrived.push(dialled);
    },
  };

  async function listen(options: Partial<ListenerOptions> = {}): Promise<Listener> {
    const listener = new Listener({ host: '127.0.0.1', port: 0, onTrouble: (message) => troubles.push(message), ...options });
    listeners.push(listener);
    port = await listener.ready();
    listener.admit(someTask.service, pool);
    return listener;
  }

  async function dial(from?: string): Promise<Dialer> {
    const dialer = await Dialer.connect(port, from);
    dialers.push(dialer);
    return dialer;
  }

  /** The next sandbox that is admitted. */
  async function arrival(): Promise<Dialled> {
    return arrived.shift() ?? new Promise((resolve) => awaited.push(resolve));
  }

  async function proven(identity: Partial<typeof someTask> = {}): Promise<{ dialer: Dialer; dialled: Dialled }> {
    const dialer = await dial();
    await dialer.prove(identity);
    return { dialer, dialled: await arrival() };
  }

  describe('a task that knows the secret', () => {
    it('is handed over with its name, and talks the protocol', async () => {
      const listener = await listen({ heartbeatMs: 700 });
      const dialer = await dial();
      assert.equal((await dialer.prove()).heartbeatMs, 700);
      const dialled = await arrival();
      const { service, secret, task, node, remote } = dialled;
      assert.deepEqual({ service, secret, task, node, remote }, { ...someTask, remote: '127.0.0.1' });
      assert.deepEqual(listener.counts, { pending: 0, connected: 1, refused: 0 });

      const conversation = new Conversation(dialled.stream);
      dialer.socket.write(Buffer.concat([hello, aliveFrame]));
      assert.equal((await conversation.hello()).version, 'test');
      await conversation.send(encodeFrame(hostFrame.ping, Buffer.from('ping')));
      const ping = await dialer.next();
      assert.deepEqual([ping?.type, ping?.payload.toString()], [hostFrame.ping, 'ping']);
      const pong = encodeFrame(supervisorFrame.pong, randomBytes(60_000));
      for (const bytes of [aliveFrame, pong.subarray(0, 30_000), pong.subarray(30_000), aliveFrame]) dialer.socket.write(bytes);
      const reply = await conversation.next();
      assert.ok(reply.kind === 'pong' && reply.bytes.equals(pong.subarray(5)));
      assert.deepEqual(troubles, []);
    });

    it('is named by its plain address where both kinds are listened on', async () => {
      await listen({ host: '::' });
      assert.equal((await proven()).dialled.remote, '127.0.0.1');
    });

    it('may answer byte by byte', async () => {
      await listen();
      const dialer = await dial();
      const { nonce } = await dialer.challenge();
      for (const byte of encodeAnswer(someKey, nonce, someNonce, someTask)) {
        dialer.socket.write(Buffer.of(byte));
        await new Promise((resolve) => setImmediate(resolve));
      }
      await dialer.welcome();
      assert.equal((await arrival()).task, someTask.task);
    });

    it('is reported as a trouble if its pool fails, and harms no other connection', async () => {
      const listener = await listen();
      listener.admit('broken', {
        keyOf: () => someKey,
        take: () => {
          throw new Error('no room');
        },
      });
      const dialer = await dial();
      await dialer.prove({ service: 'broken' });
      await dialer.closed;
      assert.deepEqual(troubles, ['the pool of broken could not take a task: no room']);
      await proven();
    });
  });

  describe('a connection', () => {
    const cases: [string, Partial<typeof someTask>, Buffer, string, RegExp][] = [
      ['the secret', {}, randomBytes(32), 'unproved', /"task-1" of "pool" on "node-1" was refused: its secret "k-1" is wrong/],
      ['a secret that still counts', { secret: 'k-0' }, someKey, 'unproved', /its secret "k-0" is wrong/],
      ['a service', { service: 'poo\u001b[2J' }, someKey, 'unproved', /of "poo\?\[2J" on "node-1" was refused: there is no such service/],
    ];
    for (const [what, identity, key, why, told] of cases) {
      it(`that does not know ${what} is refused`, async () => {
        const listener = await listen();
        const dialer = await dial();
        await dialer.claim(identity, key);
        assert.equal(await dialer.refused(), why);
        assert.deepEqual(listener.counts, { pending: 0, connected: 0, refused: 1 });
        assert.equal(troubles.length, 1);
        assert.match(troubles.join(), told);
        assert.equal(arrived.length, 0);
      });
    }

    it('is refused if the pool’s key is empty', async () => {
      const listener = await listen();
      listener.admit('keyless', { ...pool, keyOf: () => Buffer.alloc(0) });
      const dialer = await dial();
      await dialer.claim({ service: 'keyless' }, Buffer.alloc(0));
      assert.equal(await dialer.refused(), 'unproved');
    });

    it('is refused if its pool is removed before the proof', async () => {
      const listener = await listen();
      const end = listener.admit('ending', pool);
      end();
      const dialer = await dial();
      await dialer.claim({ service: 'ending' });
      assert.equal(await dialer.refused(), 'unproved');
      const late = listener.admit('ending', { ...pool, keyOf: () => (late(), someKey) });
      const other = await dial();
      await other.claim({ service: 'ending' });
      assert.equal(await other.refused(), 'busy');
      assert.equal(arrived.length, 0);
    });

    it('is admitted by the newer receiver, even after the end of the older one', async () => {
      const listener = await listen();
      const first = listener.admit('shared', { keyOf: () => undefined, take: () => assert.fail('not this one') });
      listener.admit('shared', pool);
      first();
      const { dialled } = await proven({ service: 'shared' });
      assert.equal(dialled.service, 'shared');
    });

    it('is refused if it answers the challenge of another connection', async () => {
      await listen();
      const [one, other] = [await dial(), await dial()];
      const { nonce } = await one.challenge();
      const answer = encodeAnswer(someKey, nonce, someNonce, someTask);
      await other.challenge();
      other.socket.write(answer);
      assert.equal(await other.refused(), 'unproved');
      one.socket.write(answer);
      await one.welcome();
      const replay = await dial();
      await replay.challenge();
      replay.socket.write(answer);
      assert.equal(await replay.refused(), 'unproved');
    });

    it('of an older supervisor, which speaks only version 1, is admitted', async () => {
      await listen();
      await (await dial()).prove({}, someKey, 1);
      assert.equal((await arrival()).task, someTask.task);
    });

    it('that speaks version 2 but was offered only 1 is refused: a third party has changed the challenge', async () => {
      await listen();
      const dialer = await dial();
      await dialer.claim({}, someKey, { nonce: sentinelNonce, version: 1 });
      assert.equal(await dialer.refused(), 'unproved');
      assert.match(troubles.join(), /refused: somebody between here and there changed what versions of the handshake it was offered$/);
      const stranger = await dial();
      await stranger.claim({}, Buffer.from('x'), { nonce: sentinelNonce, version: 1 });
      await stranger.refused();
      assert.match(troubles.join(), /its secret \S*k-1\S* is wrong/, 'who proves nothing is not believed');
    });

    const tls = Buffer.from(`16030100f8010000f40303${'00'.repeat(240)}`, 'hex');
    const garbage: [string, Uint8Array][] = [
      ['an HTTP request', Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n')],
      ['a TLS hello', tls],
      ['zeros', Buffer.alloc(100_000)],
      ['a HELLO', hello],
      ['an answer that claims to be long', Buffer.from('90ffffffff', 'hex')],
      ['an answer a byte too long', Buffer.from('9000000401', 'hex')],
      ['an empty answer', Buffer.from('9000000000', 'hex')],
      ['an answer of noise', encodeFrame(dialFrame.answer, randomBytes(300))],
    ];
    for (const [what, bytes] of garbage) {
      it(`that sends ${what} instead of an answer is closed without a reply`, async () => {
        const listener = await listen();
        const dialer = await dial();
        await dialer.challenge();
        dialer.socket.write(bytes);
        await dialer.closed;
        assert.equal(await dialer.next(), undefined);
        assert.deepEqual(listener.counts, { pending: 0, connected: 0, refused: 1 });
        assert.match(troubles.join(), /no task of katafleet's, from 127.0.0.1: it sent /);
        await proven();
      });
    }

    it('that sends more before WELCOME is closed', async () => {
      const listener = await listen();
      const dialer = await dial();
      const { nonce } = await dialer.challenge();
      dialer.socket.write(Buffer.concat([encodeAnswer(someKey, nonce, someNonce, someTask), hello]));
      await dialer.closed;
      assert.equal(await dialer.next(), undefined);
      assert.equal(listener.counts.refused, 1);
      assert.equal(arrived.length, 0);
    });

    it('that the peer closes is forgotten', async () => {
      const listener = await listen();
      const [gone, reset] = [await dial(), await dial()];
      await Promise.all([gone.challenge(), reset.challenge()]);
      gone.socket.end(Buffer.of(dialFrame.answer));
      reset.socket.resetAndDestroy();
      await until(() => listener.counts.pending === 0);
      assert.deepEqual([listener.counts.refused, troubles], [0, []]);
      await gone.closed;
    });

    it('that does not finish its answer has until the deadline', async () => {
      const time = pulse();
      const listener = await listen({ pulse: time });
      const slow = await dial();
      const { nonce } = await slow.challenge();
      slow.socket.write(encodeAnswer(someKey, nonce, someNonce, someTask).subarray(0, 50));
      time.pass(3_000);
      const later = await dial();
      await later.challenge();
      time.pass(1_999);
      assert.equal(listener.counts.pending, 2);
      time.pass(300);
      await slow.closed;
      assert.deepEqual(listener.counts, { pending: 1, connected: 0, refused: 1 });
      assert.deepEqual(troubles, ['no answer to the challenge in time from 127.0.0.1']);
    });
  });

  describe('a crowd', () => {
    it('of a thousand silent connections does not keep a task out', async () => {
      const listener = await listen({ pulse: pulse() }); // they need not be quick enough for a handshake
      for (let more = 0; more < 1_000; more += 1) await dial();
      await until(() => listener.counts.pending === 1_000);
      await proven();
      assert.deepEqual(listener.counts, { pending: 1_000, connected: 1, refused: 0 });
    });

    it('from one address only drives out its own', async () => {
      const listener = await listen({ pending: 20, pulse: pulse() });
      const patient = [await dial('127.0.0.2'), await dial('127.0.0.3')];
      await until(() => listener.counts.pending === 2);
      const flood: Dialer[] = [];
      for (let more = 0; more < 100; more += 1) flood.push(await dial());
      await until(() => listener.counts.refused === 82);
      assert.equal(listener.counts.pending, 20);
      await Promise.all(flood.slice(0, 82).map((dialer) => dialer.closed));
      for (const dialer of patient) await dialer.prove();
      assert.deepEqual([(await arrival()).remote, (await arrival()).remote], ['127.0.0.2', '127.0.0.3']);
      await flood.at(-1)?.prove();
      assert.match(troubles.join(), /too many connections that prove nothing; the oldest from 127.0.0.1 went/);
    });

    it('fills no log', async () => {
      const time = pulse();
      const listener = await listen({ pulse: time });
      for (let more = 0; more < 5; more += 1) {
        const dialer = await dial();
        await dialer.claim({ task: `t${more}` }, randomBytes(32));
        await dialer.refused();
      }
      const stranger = await dial();
      stranger.socket.write('x');
      await stranger.closed;
      assert.equal(listener.counts.refused, 6);
      assert.equal(troubles.length, 2);
      time.pass(1_000);
      assert.equal(troubles.length, 3);
      assert.match(troubles.at(-1) ?? '', /"t4" of "pool".* \(and 3 more of the kind\)$/);
      time.pass(5_000);
      assert.equal(troubles.length, 3);
    });
  });

  it('holds little for a reader that is slow, and the peer waits', async () => {
    await listen();
    const { dialer, dialled } = await proven();
    const all = 64 * 1024 * 1024;
    dialer.socket.write(Buffer.alloc(all, encodeFrame(supervisorFrame.stdout, Buffer.alloc(16_379))));
    await until(() => dialled.stream.readableLength >= 65_536);
    for (let turns = 0; turns < 1_000; turns += 1) await new Promise((resolve) => setImmediate(resolve));
    assert.ok(dialled.stream.readableLength <= 128 * 1024);
    assert.ok(dialer.socket.writableLength > 0);
    let read = 0;
    dialled.stream.on('data', (chunk: Buffer) => (read += chunk.length));
    await until(() => read === all);
  });

  it('holds a writer back until the peer has read', async () => {
    await listen();
    const { dialer, dialled } = await proven();
    dialer.socket.pause();
    let sent = false;
    const frames = Array.from({ length: 1_000 }, (_, step) => encodeFrame(hostFrame.data, Buffer.alloc(32_768, step)));
    const sending = new Conversation(dialled.stream).send(...frames).then(() => {
      sent = true;
    });
    for (let turns = 0; turns < 1_000; turns += 1) await new Promise((resolve) => setImmediate(resolve));
    assert.ok(!sent);
    dialer.socket.resume();
    for (const frame of frames) assert.ok((await dialer.next())?.payload.equals(frame.subarray(5)));
    await sending;
  });

  describe('the end', () => {
    it('of the peer is `ended`, after all that it said', async () => {
      const listener = await listen();
      const { dialer, dialled } = await proven();
      dialer.socket.end(Buffer.concat([hello, aliveFrame.subarray(0, 3)]));
      assert.equal(await dialled.closed, 'ended');
      assert.equal(await text(dialled.stream), Buffer.concat([hello, aliveFrame.subarray(0, 3)]).toString());
      await until(() => dialled.stream.destroyed);
      assert.equal(listener.counts.connected, 0);
    });

    it('of the peer during a write fails the write', async () => {
      await listen();
      const { dialer, dialled } = await proven();
      dialer.socket.pause();
      const conversation = new Conversation(dialled.stream);
      const sent = conversation.send(randomBytes(32 * 1024 * 1024));
      dialer.socket.end();
      await assert.rejects(sent, /closed while it was written to/);
      assert.equal(await dialled.closed, 'ended');
      await assert.rejects(conversation.send(Buffer.of(1)), /closed/);
    });

    it('by a reset is `broken`, and crashes nothing without an error listener', async () => {
      const listener = await listen();
      const { dialer, dialled } = await proven();
      dialer.socket.resetAndDestroy();
      assert.equal(await dialled.closed, 'broken');
      assert.ok(dialled.stream.destroyed);
      assert.equal(listener.counts.connected, 0);
    });

    it('by our hand is `dropped`', async () => {
      const listener = await listen();
      const { dialer, dialled } = await proven();
      dialled.stream.destroy();
      assert.equal(await dialled.closed, 'dropped');
      await dialer.closed;
      assert.equal(listener.counts.connected, 0);
    });

    it('of our side still reads the peer’s last frames', async () => {
      await listen();
      const { dialer, dialled } = await proven();
      const conversation = new Conversation(dialled.stream);
      await conversation.send(encodeFrame(hostFrame.close));
      dialled.stream.end();
      assert.equal((await dialer.next())?.type, hostFrame.close);
      await dialer.closed;
      dialer.socket.end(encodeFrame(supervisorFrame.pong, Buffer.from('bye')));
      assert.equal((await conversation.next()).kind, 'pong');
      assert.equal(await dialled.closed, 'ended');
    });

    it('of the listener ends all its connections', async () => {
      const time = pulse();
      const listener = await listen({ pulse: time });
      const { dialer, dialled } = await proven();
      const stranger = await dial();
      await stranger.challenge();
      assert.equal(time.beating, 1);
      await listener.close();
      assert.equal(time.beating, 0);
      assert.equal(await dialled.closed, 'dropped');
      await Promise.all([dialer.closed, stranger.closed]);
      assert.deepEqual(listener.counts, { pending: 0, connected: 0, refused: 0 });
      const late = connect({ port, host: '127.0.0.1' });
      await assert.rejects(once(late, 'connect'), { code: 'ECONNREFUSED' });
      await listener.close();
    });
  });

  describe('silence', () => {
    it('ends a sandbox and those of its node that have missed a sign of life', async () => {
      const time = pulse();
      const listener = await listen({ pulse: time });
      const first = await proven();
      time.pass(1_300);
      const neighbour = await proven({ task: 'task-2' });
      const elsewhere = await proven({ task: 'task-3', node: 'node-2' });
      time.pass(1_000);
      const lively = await proven({ task: 'task-4' });
      time.pass(700);
      assert.equal(listener.counts.connected, 4);
      assert.equal(neighbour.dialled.silentMs(), 1_700);
      time.pass(250);
      assert.deepEqual([await first.dialled.closed, await neighbour.dialled.closed], ['silent', 'silent']);
      await Promise.all([first.dialer.closed, neighbour.dialer.closed]);
      assert.ok(!elsewhere.dialled.stream.destroyed && !lively.dialled.stream.destroyed);
    });

    it('fails the conversation', async () => {
      const time = pulse();
      await listen({ pulse: time });
      const { dialled } = await proven();
      const reply = new Conversation(dialled.stream).next();
      time.pass(3_250);
      await assert.rejects(reply, /no word from the sandbox for 3250 ms/);
    });

    it('is broken by any word, even a part of one', async () => {
      const time = pulse();
      await listen({ pulse: time });
      const { dialer, dialled } = await proven();
      for (const byte of Buffer.concat([aliveFrame, aliveFrame])) {
        time.pass(2_500);
        assert.ok(dialled.silentMs() >= 2_500);
        dialer.socket.write(Buffer.of(byte));
        await until(() => dialled.silentMs() === 0);
      }
      time.pass(3_000);
      assert.ok(!dialled.stream.destroyed);
    });

    it('does not count while this side does not read', async () => {
      const time = pulse();
      await listen({ pulse: time });
      const { dialer, dialled } = await proven();
      const bytes = encodeFrame(supervisorFrame.stdout, Buffer.alloc(65_536));
      for (let more = 0; more < 4; more += 1) dialer.socket.write(bytes);
      await until(() => dialled.stream.readableLength >= 65_536);
      time.pass(60_000);
      assert.ok(!dialled.stream.destroyed);
      let read = 0;
      dialled.stream.on('data', (chunk: Buffer) => (read += chunk.length));
      await until(() => read === 4 * bytes.length);
      time.pass(3_000);
      assert.ok(!dialled.stream.destroyed);
      time.pass(250);
      assert.equal(await dialled.closed, 'silent');
    });

    it('does not count while this process itself stood still', async () => {
      const time = pulse();
      const listener = await listen({ pulse: time });
      const { dialled } = await proven();
      const stranger = await dial();
      await stranger.challenge();
      time.skip(20_000);
      assert.equal(dialled.silentMs(), 0);
      assert.equal(listener.counts.pending, 1);
      time.pass(3_250);
      assert.equal(await dialled.closed, 'silent');
      await stranger.closed;
    });

    it('means nothing where no signs of life were asked for', async () => {
      const time = pulse();
      await listen({ pulse: time, heartbeatMs: 0 });
      const { dialled } = await proven();
      time.pass(600_000);
      assert.ok(!dialled.stream.destroyed);
    });
  });

  it('says when its port is taken, and listens when it is free again', async () => {
    const listener = await listen();
    assert.equal(await listener.ready(), port);
    const other = new Listener({ host: '127.0.0.1', port });
    listeners.push(other);
    await assert.rejects(other.ready(), (error) => error instanceof KatafleetError && error.code === 'server.address');
    await listener.close();
    assert.equal(await other.ready(), port);
  });

  it('closes before it has listened', async () => {
    const listener = new Listener({ host: '127.0.0.1', port: 0 });
    await listener.close();
    assert.deepEqual(listener.counts, { pending: 0, connected: 0, refused: 0 });
  });
});
