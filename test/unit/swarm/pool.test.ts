import assert from 'node:assert/strict';
import { type ErrorCode, KatafleetError } from '../../../src/model/errors.ts';
import { profileOf, sandboxLimits } from '../../../src/model/profile.ts';
import type { SandboxSpec } from '../../../src/drivers/contract.ts';
import { ServicePool } from '../../../src/drivers/swarm/demand/pool.ts';
import type { SwarmSide } from '../../../src/drivers/swarm/demand/swarm-side.ts';
import { wantLastsMs } from '../../../src/drivers/swarm/services/replicas.ts';
import { shapeHash, type TaskShape } from '../../../src/drivers/swarm/services/service.ts';
import { secretName, type DesiredService } from '../../../src/drivers/swarm/services/services.ts';
import type { TaskReport } from '../../../src/drivers/swarm/demand/tasks.ts';
import { VirtualClock } from '../../simulation/clock.ts';
import { type FakeTask, fakeTask as taskOf } from '../../support/fake-dialled.ts';

const limits = sandboxLimits(profileOf());
const shape: TaskShape = {
  image: 'sha256:0123',
  architecture: 'amd64',
  volumes: [],
  limits,
  way: 'host',
  address: '10.0.0.7:7421',
  supervisor: 'abc',
  idleMs: 900_000,
  generation: '0',
  appArmor: false,
};
const next: TaskShape = { ...shape, image: 'sha256:4567' };
const spec = (name: string): SandboxSpec => ({ name, image: { name: 'x', id: 'sha256:0123', volumes: [] }, limits, labels: {}, idleMs: 1 });
/** One of the service `s`, of the shape that it has first. */
const fakeTask = (task: string, node?: string, of = shape): FakeTask => taskOf(task, secretName('s', shapeHash(of)), node);
const is = (code: ErrorCode) => (error: unknown) => error instanceof KatafleetError && error.code === code;
const [second, minute] = [1_000, 60_000];
const nothing: TaskReport = { words: [], insufficient: false, coming: 0, lacking: [] };
const noRoom: TaskReport = { ...nothing, words: ['1 task: no suitable node'], insufficient: true };

/** Lets time pass, with all that it sets off. */
async function pass(clock: VirtualClock, ms: number): Promise<void> {
  let over = false;
  clock.after(ms, () => (over = true));
  await clock.run(() => over);
}

describe('the pool of one service', () => {
  let clock: VirtualClock;
  let told: DesiredService[];
  let answer: (wanted: DesiredService) => Promise<number>;
  let report: TaskReport;
  let reports: ReadonlySet<string>[];
  let troubles: string[];
  let lacked: string[];
  let pressed: number;
  let gone: () => Promise<void>;
  let pools: ServicePool[];
  let starting: number;

  beforeEach(() => {
    clock = new VirtualClock();
    [told, reports, troubles, lacked, pressed, pools] = [[], [], [], [], 0, []];
    answer = ({ replicas }) => Promise.resolve(replicas);
    starting = 100;
    report = { ...nothing, words: ['1 task: waits to be placed'], coming: 1 };
    gone = () => Promise.resolve();
  });
  afterEach(() => Promise.all(pools.map((one) => one.close())));

  const pool = (there?: { replicas: number; hash: string }, of: TaskShape | 'unknown' = shape): ServicePool => {
    const swarm: SwarmSide = {
      services: {
        apply: (wanted) => {
          told.push(wanted);
          return answer(wanted);
        },
      },
      starting: () => starting,
      rules: { settleMs: minute, lingerMs: 10 * minute, patienceMs: 30 * second },
      nameOf: (node) => `host ${node}`,
      gone: () => gone(),
      exitCode: () => Promise.resolve(undefined),
      report: (_service, connected) => {
        reports.push(connected);
        return Promise.resolve(report);
      },
      onLacking: (_shape, nodes) => lacked.push(...nodes),
      onPressure: () => (pressed += 1),
      onTrouble: (message) => troubles.push(message),
    };
    const made = new ServicePool('s', '{}', of === 'unknown' ? undefined : of, swarm, { there, clock });
    pools.push(made);
    return made;
  };
  const numbers = () => told.map(({ replicas }) => replicas);
  /** So many who wait; what becomes of each, by its name. */
  const wait = (of: ServicePool, ...names: string[]) => {
    const became: Record<string, string> = {};
    for (const name of names) {
      of.create(spec(name)).then(
        ({ id }) => (became[name] = id),
        (error: unknown) => (became[name] = error instanceof KatafleetError ? error.code : String(error)),
      );
    }
    return became;
  };

  describe('tells the swarm', () => {
    it('the number for the first request at once, then that of all later ones in one call', async () => {
      const one = pool();
      wait(one, 'a');
      await pass(clock, 1);
      assert.deepEqual(numbers(), [1]);
      wait(one, 'b', 'c');
      await pass(clock, 50);
      wait(one, 'd', 'e');
      await pass(clock, 40);
      assert.deepEqual(numbers(), [1]);
      await pass(clock, 20);
      assert.deepEqual(numbers(), [1, 5]);
    });

    it('to start no more tasks than can start at once, and more when those have dialled in', async () => {
      starting = 3;
      const one = pool();
      const became = wait(one, 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h');
      await pass(clock, 1);
      assert.deepEqual(numbers(), [3]);
      [1, 2].forEach((at) => one.take(fakeTask(`t${at}`).dialled));
      await pass(clock, second);
      assert.deepEqual(numbers(), [3, 5]);
      assert.deepEqual(became, { a: 't1', b: 't2' });
    });

    it('nothing while the load is steady, except to renew its share', async () => {
      const one = pool();
      wait(one, 'a', 'b');
      await pass(clock, 1);
      [0, 1].forEach((at) => one.take(fakeTask(`t${at}`).dialled));
      for (let round = 2; round < 52; round += 1) {
        const [oldest] = one.handedOut;
        await oldest?.remove();
        wait(one, `r${round}`);
        one.take(fakeTask(`t${round}`).dialled);
        await pass(clock, 2 * second);
      }
      assert.deepEqual(numbers(), [2]);
      await pass(clock, wantLastsMs / 2);
      assert.deepEqual(numbers(), [2, 2]);
    });

    it('a lower number after a while of lower load, and 0 after a long time without requests', async () => {
      const one = pool();
      wait(one, 'a', 'b');
      await pass(clock, 1);
      one.take(fakeTask('t1').dialled);
      one.take(fakeTask('t2').dialled);
      const [first, other] = one.handedOut;
      await first?.remove();
      await pass(clock, minute - 6 * second);
      assert.deepEqual(numbers(), [2]);
      await pass(clock, 12 * second);
      assert.deepEqual(numbers(), [2, 1]);
      await other?.remove();
      await pass(clock, 9 * minute);
      assert.ok(numbers().every((number) => number > 0));
      await pass(clock, 2 * minute);
      assert.deepEqual([numbers().at(-1), one.idle], [0, true]);
    });

    it('its number again, with pauses, while the swarm does not answer, and keeps all requests waiting', async () => {
      const one = pool();
      answer = () => Promise.reject(new KatafleetError('engine.unreachable', 'gone'));
      const became = wait(one, 'a');
      await pass(clock, 20 * second);
      assert.ok(told.length >= 5 && told.length <= 12, `${told.length}`);
      assert.deepEqual([became, one.troubles[0]], [{}, 'gone']);
      answer = ({ replicas }) => Promise.resolve(replicas);
      await pass(clock, 6 * second);
      const told1 = told.length;
      await pass(clock, second);
      assert.equal(told.length, told1);
      one.take(fakeTask('t').dialled);
      await pass(clock, 1);
      assert.deepEqual(became, { a: 't' });
    });

    it('its number again after a call without an answer, even if it is no longer wanted', async () => {
      const one = pool();
      wait(one, 'a');
      await pass(clock, second);
      const abort = new AbortController();
      const other = one.create(spec('b'), abort.signal);
      answer = () => Promise.reject(new KatafleetError('engine.timeout', 'late'));
      await pass(clock, 150);
      abort.abort(new Error('no more'));
      await assert.rejects(other, /no more/);
      answer = ({ replicas }) => Promise.resolve(replicas);
      await pass(clock, second);
      assert.deepEqual(numbers(), [1, 2, 1]);
    });

    for (const code of ['engine.failed', 'swarm.no_manager', 'swarm.locked', 'supervisor.missing'] as const) {
      it(`its number, and refuses waiting requests at once if the swarm answers ${code}`, async () => {
        const one = pool();
        answer = () => Promise.reject(new KatafleetError(code, 'no'));
        const became = wait(one, 'a', 'b');
        await pass(clock, 1);
        assert.deepEqual([became, troubles], [{ a: code, b: code }, ['s: no']]);
        await pass(clock, minute);
        assert.deepEqual(told.length, 1);
      });
    }

    it('its number again, if the swarm has no task at all for waiting requests', async () => {
      const one = pool();
      wait(one, 'a');
      await pass(clock, second);
      report = nothing;
      await pass(clock, 10 * second);
      assert.ok(told.length >= 2 && told.length <= 3, `${told.length}`);
      assert.ok(numbers().every((number) => number === 1));
    });

    it('its number again, if others have changed the service', async () => {
      const one = pool({ replicas: 0, hash: shapeHash(shape) });
      one.reapply();
      await pass(clock, 1);
      assert.deepEqual(numbers(), [0]);
      await pass(clock, minute);
      assert.deepEqual(numbers(), [0]);
    });
  });

  describe('hands out', () => {
    it('a task to the oldest request, one each', async () => {
      const one = pool();
      const became = wait(one, 'a', 'b', 'c');
      for (const task of ['t1', 't2', 't3', 't4']) one.take(fakeTask(task).dialled);
      await pass(clock, 1);
      assert.deepEqual({ ...became }, { a: 't1', b: 't2', c: 't3' });
      assert.deepEqual([one.spares.size, one.handedOut.size, one.wanted], [1, 3, 3]);
    });

    it('a spare task at once, with the requested name and labels', async () => {
      const one = pool();
      one.take(fakeTask('t1', 'n7').dialled);
      const sandbox = await one.create({ ...spec('mine'), labels: { a: 'b' } });
      assert.deepEqual([sandbox.id, sandbox.name, sandbox.node], ['t1', 'mine', 'host n7']);
      assert.deepEqual(
        Array.from(one.handedOut, ({ labels }) => labels),
        [{ a: 'b' }],
      );
      assert.equal(one.spares.size, 0);
    });

    it('no task whose connection has ended', async () => {
      const one = pool();
      const task = fakeTask('t1');
      one.take(task.dialled);
      task.supervisor.end();
      assert.equal(await task.dialled.closed, 'ended');
      const became = wait(one, 'a');
      await pass(clock, 1);
      assert.deepEqual(became, {});
    });

    it('no task of a former shape from the moment of the change', async () => {
      const one = pool();
      const { dialled } = fakeTask('t1');
      one.take(dialled);
      one.reshape(next);
      const became = wait(one, 'a');
      await pass(clock, 1);
      assert.deepEqual([became, dialled.stream.destroyed], [{}, true]);
      one.reshape(structuredClone(next));
      const again = fakeTask('t1'); // the swarm has not ended it yet
      one.take(again.dialled);
      await pass(clock, second);
      assert.deepEqual([became, again.dialled.stream.destroyed], [{}, false], 'sent away it would dial again at once');
      await pass(clock, 5 * second);
      assert.deepEqual([became, again.dialled.stream.destroyed], [{}, true]);
      one.take(fakeTask('t2', 'n1', next).dialled);
      await pass(clock, 1);
      assert.deepEqual(became, { a: 't2' });
    });

    it('spare tasks with the former secret until the swarm has set the new one', async () => {
      let tell: () => void = () => assert.fail('nothing is told');
      const one = pool();
      wait(one, 'a', 'b');
      await pass(clock, 1);
      [1, 2, 3].forEach((at) => one.take(fakeTask(`t${at}`).dialled));
      answer = () => new Promise((resolve) => (tell = () => resolve(3)));
      const renewed = { ...shape, generation: '1' };
      one.reshape(renewed);
      await pass(clock, 200);
      const became = wait(one, 'c', 'd');
      const late = fakeTask('t4').dialled;
      one.take(late);
      await pass(clock, 1);
      assert.deepEqual(became, { c: 't3', d: 't4' });
      one.take(fakeTask('t5').dialled);
      assert.equal(one.spares.size, 1);
      answer = ({ replicas }) => Promise.resolve(replicas);
      tell();
      await pass(clock, 1);
      assert.equal(one.spares.size, 0);
      one.take(fakeTask('t6', 'n1', renewed).dialled);
      assert.equal(one.spares.size, 1);
    });

    it('one connection of a task that has dialled in anew', async () => {
      const one = pool();
      const [lost, anew] = [fakeTask('t1'), fakeTask('t1')];
      one.take(lost.dialled);
      one.take(anew.dialled);
      assert.deepEqual([one.spares.size, lost.dialled.stream.destroyed], [1, true]);
      const sandbox = await one.create(spec('a'));
      assert.equal(sandbox.stream, anew.dialled.stream);
    });

    it('a task again that dials in again, without waiting for its end', async () => {
      gone = () => new Promise(() => undefined);
      const one = pool();
      one.take(fakeTask('t1').dialled);
      const sandbox = await one.create(spec('a'));
      one.take(fakeTask('t1').dialled);
      await sandbox.closed;
      await sandbox.remove();
      assert.deepEqual([one.handedOut.size, one.spares.size], [0, 1]);
    });
  });

  describe('a waiting request', () => {
    it('gives up by its signal, and nothing is wanted for it any more', async () => {
      const one = pool();
      const abort = new AbortController();
      const waiting = one.create(spec('a'), abort.signal);
      const reason = new Error('enough');
      abort.abort(reason);
      await assert.rejects(waiting, reason);
      assert.deepEqual([one.wanted, one.spares.size], [0, 0]);
      one.take(fakeTask('t').dialled);
      assert.deepEqual([one.handedOut.size, one.spares.size], [0, 1]);
      assert.throws(() => void one.create(spec('b'), abort.signal), reason);
    });

    it('fails after its patience, with the swarm’s reason and a hint', async () => {
      report = { ...nothing, words: ['1 task: runs on h2 and has not dialled in'], coming: 1 };
      const one = pool();
      const waiting = one.create(spec('a'));
      const told1 = assert.rejects(waiting, (error) => {
        assert.ok(is('sandbox.failed')(error) && error instanceof KatafleetError);
        assert.match(error.message, /no task of s has dialled in within 30 s: 1 task: runs on h2 and has not dialled in/);
        assert.match(error.hint ?? '', /10\.0\.0\.7:7421/);
        return true;
      });
      await pass(clock, 29 * second);
      assert.equal(one.wanted, 1);
      assert.deepEqual(one.troubles, report.words);
      await pass(clock, 2 * second);
      await told1;
      assert.deepEqual([one.wanted, one.troubles], [0, []]);
    });

    it('has patience with those before it, as long as tasks come', async () => {
      const one = pool();
      const became = wait(one, 'a', 'b', 'c', 'd');
      for (const at of [1, 2, 3]) {
        await pass(clock, 20 * second);
        one.take(fakeTask(`t${at}`).dialled);
      }
      await pass(clock, 29 * second);
      assert.deepEqual({ ...became }, { a: 't1', b: 't2', c: 't3' });
      await pass(clock, 3 * second);
      assert.equal(became['d'], 'sandbox.failed');
    });

    it('fails in time even if the manager gives no reason', async () => {
      const one = pool();
      const hang = new Promise<TaskReport>(() => undefined);
      report = hang as unknown as TaskReport;
      const became = wait(one, 'a');
      await pass(clock, 32 * second);
      assert.deepEqual([became, reports.length], [{ a: 'sandbox.failed' }, 1]);
    });

    it('does not get the reason of another request', async () => {
      const one = pool();
      report = { ...nothing, words: ['1 task: an old story'], coming: 1 };
      wait(one, 'a');
      await pass(clock, 3 * second);
      one.take(fakeTask('t').dialled);
      await pass(clock, 2 * second);
      wait(one, 'b');
      assert.deepEqual(one.troubles, []);
    });

    it('fails soon if there is no room, and other pools are asked to make room', async () => {
      report = noRoom;
      const one = pool();
      const became = wait(one, 'a', 'b');
      await pass(clock, 2 * second);
      assert.deepEqual([became, pressed > 0], [{}, true]);
      await pass(clock, 2.5 * second);
      assert.deepEqual(became, { a: 'node.full', b: 'node.full' });
    });

    it('stays in the queue if a task is starting: only as many requests fail as find no room', async () => {
      report = { ...noRoom, coming: 2 };
      const one = pool();
      const became = wait(one, 'a', 'b', 'c', 'd', 'e');
      await pass(clock, 4.5 * second);
      assert.deepEqual(became, { c: 'node.full', d: 'node.full', e: 'node.full' });
    });

    it('does not fail for a reason from before it came', async () => {
      report = noRoom;
      const one = pool();
      wait(one, 'a');
      await pass(clock, 2.2 * second);
      one.take(fakeTask('t').dialled);
      await pass(clock, 100);
      const became = wait(one, 'b');
      await pass(clock, 2.5 * second);
      assert.deepEqual(became, {});
    });

    it('costs the swarm a question a second, about none that have dialled in', async () => {
      const one = pool();
      wait(one, 'a', 'b');
      one.take(fakeTask('t1').dialled);
      await pass(clock, 5.5 * second);
      assert.ok(reports.length >= 4 && reports.length <= 5, `${reports.length}`);
      assert.ok(reports.every((connected) => connected.has('t1')));
      one.take(fakeTask('t2').dialled);
      await pass(clock, minute);
      assert.ok(reports.length <= 6, `${reports.length}`);
    });

    it('need not wait for long: a node that lacked the image is found though others took its share', async () => {
      report = { ...nothing, words: ['1 task: rejected'], lacking: ['n3'] };
      const one = pool();
      wait(one, 'a', 'b');
      await pass(clock, 1);
      one.take(fakeTask('t1').dialled);
      one.take(fakeTask('t2').dialled);
      await pass(clock, minute);
      assert.deepEqual([lacked, reports.length, one.troubles], [['n3'], 1, []]);
    });

    it('finds nodes that still lack the image when they are tried again, even without a waiting request', async () => {
      const one = pool({ replicas: 2, hash: shapeHash(shape) });
      one.reshape(shape);
      one.exclude(['n3']);
      await pass(clock, second);
      one.take(fakeTask('t1').dialled);
      one.take(fakeTask('t2').dialled);
      await pass(clock, minute);
      const before = reports.length;
      report = { ...nothing, words: ['1 task: rejected'], lacking: ['n3'] };
      one.exclude([]);
      await pass(clock, 3 * second);
      assert.deepEqual([reports.length, lacked], [before + 1, ['n3']]);
    });

    it('tells which nodes were found to lack the image', async () => {
      report = { ...nothing, words: ['1 task: rejected'], lacking: ['n3'] };
      wait(pool(), 'a');
      await pass(clock, 1.5 * second);
      assert.deepEqual(lacked, ['n3']);
    });
  });

  it('keeps off nodes, and says so once', async () => {
    const one = pool();
    wait(one, 'a');
    await pass(clock, 1);
    one.exclude(['n1']);
    one.exclude(['n1']);
    await pass(clock, 200);
    one.exclude(['n1']);
    await pass(clock, 200);
    assert.deepEqual(
      told.map(({ excluded }) => excluded),
      [[], ['n1']],
    );
  });

  it('gives way at once when another lacks room', async () => {
    const one = pool();
    wait(one, 'a', 'b');
    await pass(clock, 1);
    one.take(fakeTask('t1').dialled);
    one.take(fakeTask('t2').dialled);
    for (const sandbox of one.handedOut) await sandbox.remove();
    one.press(true);
    await pass(clock, 200);
    assert.deepEqual(numbers(), [2, 0]);
  });

  describe('does not have the swarm make for ever', () => {
    it('tasks that end as soon as they have dialled in', async () => {
      const one = pool({ replicas: 3, hash: shapeHash(shape) });
      const failing = async (count: number) => {
        for (let at = 0; at < count; at += 1) {
          const { dialled, supervisor } = fakeTask(`t${at}`);
          one.take(dialled);
          supervisor.end();
          await dialled.closed;
          await pass(clock, 100);
        }
      };
      await failing(9);
      one.take(fakeTask('lives').dialled);
      await pass(clock, second);
      [...one.spares].forEach(({ stream }) => stream.destroy());
      await pass(clock, 1);
      await failing(9);
      assert.deepEqual([numbers().filter((count) => count !== 3), troubles], [[], []]);
      await failing(1);
      assert.equal(numbers().at(-1), 0);
      assert.match(troubles.join(), /s: its tasks end as soon as they have dialled in/);
      wait(one, 'a');
      await pass(clock, second);
      assert.equal(numbers().at(-1), 1);
    });

    it('and does not count tasks that a scale-down ended or that have served, even in less than a second', async () => {
      const one = pool();
      wait(one, ...Array.from({ length: 12 }, (_, at) => `r${at}`));
      await pass(clock, 1);
      const tasks = Array.from({ length: 24 }, (_, at) => fakeTask(`t${at}`));
      for (const { dialled } of tasks) one.take(dialled);
      for (const sandbox of one.handedOut) await sandbox.remove();
      one.press(true);
      await pass(clock, 1);
      for (const { dialled, supervisor } of tasks.slice(12)) {
        supervisor.end();
        await dialled.closed;
      }
      await pass(clock, second);
      assert.deepEqual(troubles, []);
    });

    it('tasks that never dial in', async () => {
      const one = pool();
      const became = wait(one, 'a', 'b');
      await pass(clock, 33 * second);
      assert.deepEqual([became, numbers()], [{ a: 'sandbox.failed', b: 'sandbox.failed' }, [2]], 'it may be asked for again at once');
      await pass(clock, 36 * second);
      assert.deepEqual(numbers(), [2, 0]);
    });
  });

  describe('one that an earlier katafleet left', () => {
    const there = { replicas: 3, hash: shapeHash(shape) };

    it('has its tasks served, and is left as it is, but for the number', async () => {
      const one = pool(there, 'unknown');
      assert.ok(one.knows(secretName('s', there.hash)));
      assert.ok(!one.knows(secretName('s', 'other')) && !one.knows(secretName('t', there.hash)));
      await pass(clock, 6 * second);
      assert.deepEqual(
        told.map(({ replicas, shape: of }) => [replicas, of]),
        [[3, undefined]],
      );
      one.take(fakeTask('t1').dialled);
      one.reshape(shape);
      assert.equal((await one.create(spec('a'))).id, 't1');
      await pass(clock, second);
      assert.equal(told.length, 1);
    });

    it('knows both secrets while it changes, and takes no task with the former one', async () => {
      const one = pool(there, 'unknown');
      one.reshape(next);
      const [old, fresh] = [secretName('s', there.hash), secretName('s', shapeHash(next))];
      assert.ok(one.knows(old) && one.knows(fresh));
      await pass(clock, 200);
      const [straggler, comes] = [fakeTask('t1').dialled, fakeTask('t2', 'n1', next).dialled];
      assert.ok(one.knows(straggler.secret) && one.knows(comes.secret));
      one.take(straggler);
      one.take(comes);
      assert.deepEqual([...one.spares], [comes]);
      await pass(clock, 5 * second);
      assert.ok(straggler.stream.destroyed && !comes.stream.destroyed);
      one.reshape({ ...next, generation: '9' });
      await pass(clock, 200);
      assert.ok(!one.knows(old) && one.knows(fresh));
    });

    it('is removed when it is unused', async () => {
      const one = pool(there, 'unknown');
      await pass(clock, 11 * minute);
      assert.deepEqual([numbers().at(-1), one.idle], [0, true]);
    });
  });

  describe('is removed', () => {
    it('only without requests', async () => {
      const one = pool();
      wait(one, 'a');
      assert.equal(await one.retire(() => assert.fail('it is wanted')), false);
    });

    it('and made again for a request that comes during the removal', async () => {
      const one = pool({ replicas: 0, hash: shapeHash(shape) });
      let removed: () => void = () => assert.fail('it was not begun');
      const retired = one.retire(() => new Promise((resolve) => (removed = resolve)));
      const became = wait(one, 'a');
      await pass(clock, second);
      assert.deepEqual(told, []);
      removed();
      assert.equal(await retired, false);
      await pass(clock, second);
      assert.deepEqual(numbers(), [1]);
      one.take(fakeTask('t').dialled);
      await pass(clock, 1);
      assert.deepEqual(became, { a: 't' });
    });

    it('or not, when the swarm does not let it: nothing is forgotten', async () => {
      const one = pool({ replicas: 0, hash: shapeHash(shape) });
      await assert.rejects(
        one.retire(() => Promise.reject(new Error('no'))),
        /no/,
      );
      assert.ok(one.knows(secretName('s', shapeHash(shape))));
    });
  });

  it('closed: refuses waiting and new requests, disconnects spare tasks, and calls the swarm no more', async () => {
    const one = pool();
    let finish: () => void = () => assert.fail('it was not begun');
    answer = () => new Promise((resolve) => (finish = () => resolve(1)));
    one.take(fakeTask('spare').dialled);
    await one.create(spec('out'));
    const spare = fakeTask('spare 2').dialled;
    const became = wait(one, 'a');
    await pass(clock, 200);
    one.take(spare);
    await pass(clock, 1);
    const more = wait(one, 'b');
    let closed = false;
    const closing = one.close().then(() => (closed = true));
    await pass(clock, 10);
    assert.deepEqual([became, more, closed], [{ a: 'spare 2' }, { b: 'node.lost' }, false]);
    finish();
    await closing;
    const late = fakeTask('late').dialled;
    one.take(late);
    assert.ok(late.stream.destroyed);
    await assert.rejects(one.create(spec('c')), is('node.lost'));
    await pass(clock, minute);
    assert.equal(told.length, 1);
  });
});
