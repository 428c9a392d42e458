import assert from 'node:assert/strict';
import { KatafleetError } from '../../../src/model/errors.ts';
import { judge, restMs } from '../../../src/runs/life/losses.ts';
import { newTally } from '../../../src/runs/life/tally.ts';
import { result as resultWith } from '../../support/katas.ts';
import { dispatching, jobOf } from '../../support/dispatching.ts';
import { until } from '../../support/until.ts';

const refuses = (code: string, about: RegExp) => (error: unknown) =>
  error instanceof KatafleetError && error.code === code && about.test(error.message);
const begun = (book: string[]) => book.filter((line) => line.startsWith('begin')).length;

describe('a run whose node is missing', () => {
  it('waits for it, whatever the node’s health said before, and no try is counted', async () => {
    const { dispatcher, driver, look, book, close, fleet } = await dispatching(['a'], { attempts: 1 });
    driver('a').faults = { unreachable: true };
    const runs = [1, 2, 3, 4, 5].map(() => dispatcher.submit(jobOf(['echo'])));
    await until(() => dispatcher.waiting === 5);
    assert.deepEqual([fleet.node('a').state, dispatcher.running], ['suspect', 0]);
    const tries = begun(book);
    assert.ok(tries <= 5, 'none was tried on a suspect node');
    driver('a').faults = {};
    assert.equal(await look('a'), 'ready');
    assert.deepEqual(
      (await Promise.all(runs)).map(({ outcome }) => outcome.kind),
      Array.from(runs, () => 'exited'),
    );
    assert.equal(begun(book), tries + 5);
    await close();
  });

  it('fails at its deadline with the node’s message, which more losses do not postpone', async () => {
    const { dispatcher, driver, look, close } = await dispatching(['a'], { attempts: 1 });
    const create = driver('a').create.bind(driver('a'));
    driver('a').create = () => Promise.reject(new KatafleetError('engine.unreachable', 'the engine is restarting'));
    const run = dispatcher.submit(jobOf(['echo'], { queueMs: 700 }));
    const looking = setInterval(() => void look('a'), 20); // it answers, and can make nothing
    await assert.rejects(run, refuses('queue.deadline', /the engine is restarting/));
    clearInterval(looking);
    driver('a').create = create;
    await close();
  });

  it('moves to another node at once, if there is one', async () => {
    const { dispatcher, driver, fleet, close } = await dispatching(['a', 'b'], { attempts: 1 });
    driver('a').faults = { unreachable: true };
    const results = await Promise.all([1, 2, 3].map(() => dispatcher.submit(jobOf(['echo']))));
    assert.ok(results.every(({ node }) => node === 'b'));
    driver('a').faults = {};
    await fleet.node('a').sandboxes.reap(); // what was being made there may be there
    await close();
  });

  it('an engine that fails in other words while it ends costs no try either', async () => {
    const { dispatcher, driver, look, close } = await dispatching(['a'], { attempts: 1 });
    const create = driver('a').create.bind(driver('a'));
    driver('a').create = () => {
      driver('a').faults = { unreachable: true };
      return Promise.reject(new KatafleetError('engine.failed', 'context canceled'));
    };
    const run = dispatcher.submit(jobOf(['echo']));
    await until(() => dispatcher.waiting === 1);
    driver('a').create = create;
    driver('a').faults = {};
    await look('a');
    assert.equal((await run).attempt, 2);
    await close();
  });

  it('pauses longer and longer, up to a second, then five, and thirty when it has gone on for long', () => {
    assert.deepEqual([1, 2, 3, 4, 20, 21, 100, 101, 1_000].map(restMs), [250, 500, 1_000, 1_000, 1_000, 5_000, 5_000, 30_000, 30_000]);
  });
});

describe('a run whose sandbox is lost', () => {
  for (const exitCode of [0, 137, 143, undefined]) {
    it(`is tried again where its container ended with ${exitCode ?? 'no code'}, and the second loss is its own`, async () => {
      const { dispatcher, driver, book, close } = await dispatching(['a'], { attempts: 5 });
      driver('a').exitCode = exitCode;
      const run = dispatcher.submit(jobOf(['hold']));
      for (let loss = 1; loss <= 2; loss += 1) {
        await until(() => driver('a').executed.length === loss);
        driver('a').breakStreams();
      }
      const { outcome, attempt } = await run;
      assert.deepEqual([outcome.kind, attempt, driver('a').executed.length], ['lost', 2, 2]);
      assert.match(outcome.kind === 'lost' ? outcome.reason : '', new RegExp(`ended with ${exitCode ?? 'no exit code'}`));
      assert.deepEqual(book, ['begin 1 on a', 'lost 1', 'begin 2 on a', 'finish 2']);
      await close();
    });
  }

  it('lost with its node is tried as often as there are tries, and then fails', async () => {
    const { dispatcher, driver, look, close } = await dispatching(['a'], { attempts: 3 });
    const run = dispatcher.submit(jobOf(['hold']));
    const failed = assert.rejects(run, refuses('node.lost', /lost on a/));
    for (let loss = 1; loss <= 3; loss += 1) {
      await until(() => driver('a').executed.length === loss);
      driver('a').faults = { unreachable: true };
      driver('a').breakStreams();
      await until(() => dispatcher.running === 0);
      driver('a').faults = {};
      await look('a');
    }
    await failed;
    await close();
  });

  it('lost with a silent machine of a node that answers is no fault of the run: it is tried as often as there are tries', async () => {
    const { dispatcher, driver, book, close } = await dispatching(['a'], { attempts: 3 });
    driver('a').silent = true;
    const failed = assert.rejects(dispatcher.submit(jobOf(['hold'])), refuses('node.lost', /lost on a/));
    for (let loss = 1; loss <= 3; loss += 1) {
      await until(() => driver('a').executed.length === loss);
      driver('a').breakStreams();
    }
    await failed;
    assert.deepEqual(book, ['begin 1 on a', 'lost 1', 'begin 2 on a', 'lost 2', 'begin 3 on a', 'fail 3: node.lost']);
    await close();
  });

  it('goes elsewhere at once where its node or machine is lost, and waits where that still answers, for it may be ending', () => {
    const result = resultWith();
    const tried = { kind: 'sandbox' as const, reason: 'it went', started: true, answers: true, resumed: false, warm: true, result };
    const lossOf = (nodeLost: boolean) => {
      const loss = judge(newTally(), 'a', { ...tried, nodeLost }, 3);
      assert.ok(loss);
      return { avoid: loss.avoid, counts: loss.counts, pauses: loss.pauseMs > 0, own: loss.tally.own };
    };
    assert.deepEqual(lossOf(true), { avoid: true, counts: true, pauses: false, own: 0 });
    assert.deepEqual(lossOf(false), { avoid: true, counts: true, pauses: true, own: 1 });
  });

  it('before its command began on a node that is going costs no try, however often', async () => {
    const { dispatcher, driver, look, close } = await dispatching(['a'], { attempts: 1 });
    const create = driver('a').create.bind(driver('a'));
    const ping = driver('a').ping.bind(driver('a'));
    let [restarts, down] = [0, false];
    driver('a').ping = (signal) => (down ? Promise.reject(new KatafleetError('engine.unreachable', 'it restarts')) : ping(signal));
    driver('a').create = (...of) => {
      if ((restarts += 1) > 4) return create(...of);
      down = true;
      driver('a').faults = { dieOnOpen: 1 };
      return create(...of);
    };
    const run = dispatcher.submit(jobOf(['echo']));
    const back = setInterval(() => {
      down = false;
      void look('a');
    }, 100);
    assert.equal((await run).attempt, 5);
    clearInterval(back);
    assert.equal((await run).outcome.kind, 'exited');
    await close();
  });

  it('by its program’s effect on the supervisor is tried twice at most', async () => {
    const { dispatcher, driver, close } = await dispatching(['a'], { attempts: 5 });
    const run = dispatcher.submit(jobOf(['hold']));
    for (let loss = 1; loss <= 2; loss += 1) {
      await until(() => driver('a').executed.length === loss);
      for (const { end } of driver('a').containers.values()) end.write(Buffer.from([0xff, 0, 0, 0, 0]));
    }
    assert.equal((await run).outcome.kind, 'lost');
    assert.equal(driver('a').executed.length, 2);
    await close();
  });
});

describe('a node’s error about a run', () => {
  for (const code of ['image.unknown', 'gate.refused', 'engine.permission'] as const) {
    it(`${code} does not end it where another node can serve it`, async () => {
      const { dispatcher, driver, close } = await dispatching(['a', 'b']);
      for (const name of ['a', 'b']) {
        driver(name).prepare = () => {
          const other = name === 'a' ? 'b' : 'a';
          delete (driver(other) as { prepare?: unknown }).prepare; // the first that is asked refuses
          if (code === 'image.unknown') driver(name).tags = [];
          return Promise.reject(new KatafleetError(code, `${name} says no`));
        };
      }
      const { attempt, outcome } = await dispatcher.submit(jobOf(['echo']));
      assert.deepEqual([attempt, outcome.kind], [2, 'exited']);
      await close();
    });
  }

  it('is the end where no node has the image any more', async () => {
    const { dispatcher, driver, book, close } = await dispatching(['a']);
    driver('a').prepare = () => {
      driver('a').tags = [];
      return Promise.reject(new KatafleetError('image.unknown', 'No such image: any'));
    };
    await assert.rejects(dispatcher.submit(jobOf(['echo'])), refuses('image.unknown', /no image "any"/));
    assert.deepEqual(book, ['begin 1 on a', 'lost 1', 'fail -: image.unknown']);
    await close();
  });
});
