import assert from 'node:assert/strict';
import type { Batch, Said, WorkerOptions } from '../../../src/store/commands.ts';
import type { Hears, OpenLink } from '../../../src/store/caller/link.ts';
import { CommandQueue } from '../../../src/store/caller/queue.ts';
import { refuses } from '../../support/stored.ts';
import { until } from '../../support/until.ts';

/** A worker that does what a test says. */
class FakeWorker {
  readonly batches: Batch[] = [];
  readonly options: WorkerOptions;
  readonly #hears: Hears;
  killed = false;

  constructor(options: WorkerOptions, hears: Hears) {
    this.options = options;
    this.#hears = hears;
  }

  /** What it was sent, as words. */
  get sent(): string[] {
    return this.batches.flatMap(({ commands }) =>
      commands.map(([, { do: what, ...rest }]) => [what, ...('id' in rest ? [rest.id] : [])].join(' ')),
    );
  }

  say(said: Said): void {
    this.#hears.said(said);
  }

  /** Answers every command of a batch with its number. */
  answer(batch = this.batches.at(-1)): void {
    this.say({ answers: (batch?.commands ?? []).map(([number]) => [number, number]) });
  }

  refuse(batch = this.batches.at(-1)): void {
    this.say({ refused: { numbers: (batch?.commands ?? []).map(([number]) => number), why: 'full' } });
  }

  die(): void {
    this.#hears.gone('it died');
  }
}

const file = ':memory:';
const cancel = (id: string) => ({ do: 'cancel' as const, id, at: 1 });

describe('the store: the queue of commands', () => {
  let workers: FakeWorker[];
  let queue: CommandQueue;
  let troubles: string[];
  let takes: number;
  const worker = () => workers.at(-1) ?? assert.fail('none was started');
  const sentTo = (count: number) => until(() => worker().batches.length === count);
  const open: OpenLink = (options, hears) => {
    const fake = new FakeWorker(options, hears);
    workers.push(fake);
    return Promise.resolve({
      opened: { identity: 'i', epoch: 7, since: 1 },
      post: (batch) => void fake.batches.push(batch),
      hold: () => undefined,
      close: () => Promise.resolve(),
      kill: () => {
        fake.killed = true;
        setImmediate(() => fake.die());
      },
    });
  };
  const start = async (lookMs = 600_000) => {
    [workers, troubles, takes] = [[], [], 0];
    const onTrouble = (message: string) => void troubles.push(message);
    ({ queue } = await CommandQueue.open({ file, keepBytes: 1, power: false, open, onTrouble, onTakes: () => (takes += 1), lookMs }));
  };
  beforeEach(() => start());
  afterEach(() => queue.abandon());

  it('sends what was asked in one turn as one batch, in order', async () => {
    const answers = [queue.write(cancel('a'), 'owed'), queue.write(cancel('b'), 'owed'), queue.read({ do: 'counts' })];
    await sentTo(1);
    assert.deepEqual(worker().sent, ['cancel a', 'cancel b', 'counts']);
    worker().answer();
    assert.deepEqual(await Promise.all(answers), [0, 1, 2]);
  });

  it('gives the next worker all that a dead one did not answer, in order, as the same opening', async () => {
    const [a, b, read] = [queue.write(cancel('a'), 'owed'), queue.write(cancel('b'), 'once'), queue.read({ do: 'counts' })];
    await sentTo(1);
    worker().say({ answers: [[0, true]] });
    worker().die();
    assert.equal(queue.takes, false);
    const c = queue.write(cancel('c'), 'owed');
    await until(() => workers.length === 2 && worker().batches.length === 1);
    assert.equal(worker().options.again, 7, 'runs that are under way are not made to wait again');
    assert.deepEqual(worker().sent, ['cancel b', 'counts', 'cancel c']);
    assert.equal(queue.takes, true);
    worker().answer();
    await Promise.all([a, b, c, read]);
    assert.equal(takes, 1);
  });

  it('ends a worker that does not answer, and tells those who can’t wait', async () => {
    await start(10);
    const owed = queue.write(cancel('a'), 'owed');
    const once = queue.write(cancel('b'), 'once');
    await assert.rejects(once, refuses('journal.unavailable'));
    await until(() => workers.length === 2 && worker().batches.length > 0);
    assert.equal(workers[0]?.killed, true);
    assert.deepEqual(worker().sent, ['cancel a']);
    worker().answer();
    await owed;
    assert.match(troubles.join('\n'), /has not answered/);
  });

  it('does not take a long job for a silent worker', async () => {
    await start(10);
    const job = queue.read({ do: 'prune', resultsBefore: 1, eventsBefore: 1 }, 'job');
    await sentTo(1);
    for (let pings = 2; pings < 12; pings += 1) {
      await until(() => worker().batches.length >= pings);
      assert.equal(worker().sent.at(-1), 'ping');
      worker().answer();
    }
    assert.equal(workers.length, 1);
    worker().answer(worker().batches[0]);
    await job;
  });

  it('owes what a full disk refused, in order, and refuses what need not be kept', async () => {
    const [a, b] = [queue.write(cancel('a'), 'owed'), queue.write(cancel('b'), 'once')];
    await sentTo(1);
    const late = queue.write(cancel('c'), 'owed');
    await sentTo(2);
    worker().refuse(worker().batches[0]);
    await assert.rejects(b, refuses('journal.full'));
    assert.equal(queue.takes, false);
    assert.throws(() => queue.check(), refuses('journal.full'));
    await assert.rejects(queue.write(cancel('e'), 'once'), refuses('journal.full'));
    const held = queue.write(cancel('d'), 'owed');
    const read = queue.read({ do: 'counts' });
    await sentTo(3);
    worker().answer();
    await read; // reads go on
    worker().refuse(worker().batches[1]); // as the worker does with all that was sent before the refusal was heard
    await sentTo(4);
    const [first, second] = [worker().batches[0], worker().batches[3]];
    assert.deepEqual(
      second?.commands.map(([, command]) => 'id' in command && command.id),
      ['a', 'c', 'd'],
    );
    assert.ok((second?.generation ?? 0) > (first?.generation ?? 0));
    assert.equal(takes, 0);
    worker().answer();
    await Promise.all([a, late, held]);
    assert.deepEqual([queue.takes, takes], [true, 1]);
    assert.equal(troubles.length, 2, troubles.join('\n'));
  });

  it('finds out that the disk takes writes again if nothing is owed', async () => {
    const once = queue.write(cancel('b'), 'once');
    await sentTo(1);
    worker().refuse();
    await assert.rejects(once, refuses('journal.full'));
    await sentTo(2);
    assert.deepEqual(worker().sent.at(-1), 'probe');
    worker().answer();
    assert.equal(queue.takes, true);
  });

  it('tries what is owed once more when it is closed, and tells what is given up', async () => {
    const owed = queue.write(cancel('a'), 'owed');
    await sentTo(1);
    worker().refuse();
    const closing = queue.close();
    await sentTo(2);
    worker().refuse();
    await Promise.all([closing, assert.rejects(owed, refuses('journal.unavailable'))]);
    assert.match(troubles.join('\n'), /the ends of 1 runs could not be written/);
    await assert.rejects(queue.write(cancel('b'), 'owed'), refuses('journal.unavailable'));
  });
});
