import assert from 'node:assert/strict';
import { KatafleetError } from '../../src/model/errors.ts';
import { profileOf, sandboxLimits } from '../../src/model/profile.ts';
import { noRecorder, type Recorder } from '../../src/runs/life/records.ts';
import { checkJob } from '../../src/runs/job.ts';
import { aRequest } from '../support/builders.ts';
import { fakeFingerprint } from '../support/fake-driver.ts';
import { dispatching, jobOf as job } from '../support/dispatching.ts';
import { imageOf, MiB } from '../support/fake-fleet.ts';
import { until } from '../support/until.ts';

const refuses =
  (code: string, about = /./) =>
  (error: unknown) =>
    error instanceof KatafleetError && error.code === code && about.test(error.message);

describe('dispatcher: a run’s attempts', () => {
  it('a run comes back with its result, its node and its attempt', async () => {
    const { dispatcher, book, close } = await dispatching(['a']);
    const result = await dispatcher.submit(job(['echo', 'hi']), { id: 'r' });
    assert.deepEqual([result.id, result.node, result.attempt, result.steps[0]?.stdout.toString()], ['r', 'a', 1, 'echo hi']);
    assert.deepEqual(book, ['begin 1 on a', 'finish 1']);
    await close();
  });

  it('a run whose steps may take longer than a timer can is not given up at once', async () => {
    const { dispatcher, driver, close } = await dispatching(['a']);
    const day = 24 * 3_600_000;
    const steps = Array.from({ length: 30 }, () => ({ argv: ['echo', 'hi'], limits: { wallMs: day } }));
    const running = dispatcher.submit(checkJob(aRequest({ steps: [{ argv: ['hold'], limits: { wallMs: day } }, ...steps] })));
    await until(() => driver('a').holding === 1);
    await new Promise((resolve) => setImmediate(() => setTimeout(resolve, 5))); // a timer of 1 ms would have fired
    driver('a').letGo();
    assert.deepEqual((await running).outcome, { kind: 'exited', code: 0 });
    await close();
  });

  it('a run whose node is lost is tried elsewhere under the next number', async () => {
    const { dispatcher, book, nodeOf, lose, driver, close } = await dispatching(['a', 'b']);
    const attempts: string[] = [];
    const running = dispatcher.submit(job(['hold']), { onAttempt: (number, node) => attempts.push(`${number} ${node}`) });
    await until(() => nodeOf() !== '');
    const first = nodeOf();
    const second = first === 'a' ? 'b' : 'a';
    await lose(first);
    await until(() => driver(second).holding > 0);
    driver(second).letGo();
    const result = await running;
    assert.deepEqual([result.node, result.attempt], [second, 2]);
    assert.deepEqual(attempts, [`1 ${first}`, `2 ${second}`]);
    assert.deepEqual(book, [`begin 1 on ${first}`, 'lost 1', `begin 2 on ${second}`, 'finish 2']);
    await close();
  });

  it('the late end of an attempt that was given up changes nothing', async () => {
    const { dispatcher, book, nodeOf, lose, driver, close } = await dispatching(['a', 'b']);
    const running = dispatcher.submit(job(['hold']));
    await until(() => nodeOf() !== '');
    const first = nodeOf();
    await lose(first);
    driver(first).letGo();
    await until(() => driver(first === 'a' ? 'b' : 'a').holding > 0);
    assert.ok(!book.includes('finish 1'));
    driver(first === 'a' ? 'b' : 'a').letGo();
    assert.equal((await running).attempt, 2);
    assert.deepEqual(
      book.filter((line) => line.startsWith('finish')),
      ['finish 2'],
    );
    await close();
  });

  it('tries are bounded', async () => {
    const { dispatcher, driver, book, close } = await dispatching(['a', 'b']);
    for (const name of ['a', 'b']) driver(name).faults = { failCreates: 100 };
    await assert.rejects(dispatcher.submit(job()), refuses('engine.failed', /told to fail/));
    assert.deepEqual(
      book.map((line) => line.replace(/ on .*/, '')),
      ['begin 1', 'lost 1', 'begin 2', 'lost 2', 'begin 3', 'fail 3: engine.failed'],
    );
    await close();
  });

  it('attempts of an earlier katafleet count', async () => {
    const { dispatcher, driver, book, close } = await dispatching(['a']);
    driver('a').faults = { failCreates: 100 };
    await assert.rejects(dispatcher.submit(job(), { attempts: 4, tries: 2 }), refuses('engine.failed'));
    assert.deepEqual(book, ['begin 5 on a', 'fail 5: engine.failed']);
    await close();
  });

  it('does not count attempts during which katafleet itself was stopped', async () => {
    const { dispatcher, driver, close } = await dispatching(['a']);
    driver('a').faults = { failCreates: 2 };
    assert.equal((await dispatcher.submit(job(), { attempts: 5, tries: 0 })).attempt, 8);
    await close();
  });

  it('does not count attempts lost before their command began, up to as many again', async () => {
    const { dispatcher, driver, book, close } = await dispatching(['a']);
    driver('a').faults = { dieOnOpen: 5 };
    assert.equal((await dispatcher.submit(job())).attempt, 6);
    driver('a').faults = { dieOnOpen: 100 };
    book.length = 0;
    await assert.rejects(dispatcher.submit(job()), refuses('node.lost'));
    assert.equal(book.filter((line) => line.startsWith('begin')).length, 6);
    await close();
  });

  it('a node that failed is passed over as long as another can take it, and taken when none can', async () => {
    const { dispatcher, driver, close } = await dispatching(['a', 'b']);
    for (const name of ['a', 'b']) driver(name).faults = { failCreates: 1 };
    assert.equal((await dispatcher.submit(job())).attempt, 3);
    await close();
  });

  it('a failing program is a result; an error of the user’s is never tried again', async () => {
    const { dispatcher, driver, book, close } = await dispatching(['a', 'b']);
    const failed = await dispatcher.submit(job(['exit', '3']));
    assert.deepEqual([failed.outcome, failed.attempt], [{ kind: 'exited', code: 3 }, 1]);
    book.length = 0;
    for (const name of ['a', 'b'])
      driver(name).prepare = () => Promise.reject(new KatafleetError('recipe.invalid', 'its label is nonsense'));
    await assert.rejects(dispatcher.submit(job()), refuses('recipe.invalid'));
    assert.deepEqual(
      book.map((line) => line.replace(/ on .*/, '')),
      ['begin 1', 'fail 1: recipe.invalid'],
    );
    await close();
  });

  it('a journal that can’t be written ends the run with an error, and its sandbox is given back', async () => {
    const broken: Recorder = { ...noRecorder, begin: () => Promise.reject(new Error('its page is damaged')) };
    const { dispatcher, close } = await dispatching(['a'], { recorder: broken });
    await assert.rejects(dispatcher.submit(job()), refuses('journal.broken', /its page is damaged/));
    await dispatcher.idle();
    await close();
  });

  it('an attempt that the journal does not know any more ends as an error, not never', async () => {
    const deaf: Recorder = {
      ...noRecorder,
      lost: () => Promise.resolve(false),
      finish: () => Promise.resolve(false),
      fail: () => Promise.resolve(false),
    };
    const { dispatcher, driver, close } = await dispatching(['a'], { recorder: deaf });
    driver('a').faults = { failCreates: 100 };
    await assert.rejects(dispatcher.submit(job()), refuses('engine.failed'));
    await close();
  });
});

describe('dispatcher: a node that has no room after all', () => {
  const limits = sandboxLimits(profileOf({ memory: 512 * MiB }));
  /** So many idle sandboxes of an image, each of 512 MiB, which its books know little of. */
  const keep = async ({ fleet }: Awaited<ReturnType<typeof dispatching>>, image: string, idle: number) => {
    fleet.want({ image, limits, idle: { min: idle, max: idle } });
    await Promise.all((await fleet.retarget()).map((pool) => pool.filled()));
  };

  it('idle sandboxes of other pools give way, as many as it takes, and no attempt is counted', async () => {
    const fakes = await dispatching(['a'], { attempts: 1 });
    const { dispatcher, driver, book, close } = fakes;
    driver('a').tags = ['any:latest', 'other:latest'];
    await fakes.look('a');
    await fakes.fleet.refreshImages();
    await keep(fakes, 'other:latest', 4);
    driver('a').faults = { room: 2048 * MiB };
    const running = dispatcher.submit(job(['hold'], { memory: 1024 * MiB }));
    await until(() => driver('a').holding === 1);
    assert.equal(driver('a').containers.size, 3, 'two went for one of twice their size');
    driver('a').letGo();
    const { attempt, node } = await running;
    assert.deepEqual([attempt, node], [2, 'a']);
    assert.deepEqual(book, ['begin 1 on a', 'lost 1', 'begin 2 on a', 'finish 2']);
    await close();
  });

  it('runs on another node if no sandbox can be evicted', async () => {
    const { dispatcher, driver, close } = await dispatching(['a', 'b'], { policy: { pack: 'binpack' } });
    driver('a').faults = { room: 0 };
    const { node, attempt } = await dispatcher.submit(job());
    assert.deepEqual([node, attempt], ['b', 2]);
    await close();
  });

  it('without another node tries again after a pause, and fails at its deadline with the node’s message', async () => {
    const { dispatcher, driver, book, close } = await dispatching(['a'], { attempts: 1 });
    driver('a').faults = { room: 0 };
    const begun = performance.now();
    const first = dispatcher.submit(job(['echo', 'first'], { queueMs: 20_000 }));
    await until(() => dispatcher.waiting === 1);
    driver('a').faults = {};
    assert.equal((await first).attempt, 2);
    assert.ok(performance.now() - begun >= 500, 'not before the pause is over');
    driver('a').faults = { room: 0 };
    book.length = 0;
    await assert.rejects(
      dispatcher.submit(job(['echo'], { queueMs: 300 })),
      refuses('queue.deadline', /within 300 ms: a: no suitable node \(insufficient resources on 1 node\)$/),
    );
    assert.deepEqual(book, ['begin 1 on a', 'lost 1', 'fail -: queue.deadline']);
    await close();
  });

  it('does not count the attempt on the full node', async () => {
    const { dispatcher, driver, book, close } = await dispatching(['a'], { attempts: 2 });
    driver('a').faults = { room: 0 };
    const run = dispatcher.submit(job());
    await until(() => dispatcher.waiting === 1);
    driver('a').faults = { failCreates: 1 };
    assert.equal((await run).attempt, 3);
    assert.deepEqual(book, ['begin 1 on a', 'lost 1', 'begin 2 on a', 'lost 2', 'begin 3 on a', 'finish 3']);
    await close();
  });

  it('sandboxes that are kept for sessions go then, too', async () => {
    const sessions = { most: 10, perTenant: 10, idleMs: 60_000, ageMs: 60_000, memory: 1 };
    const { dispatcher, driver, close } = await dispatching(['a'], { sessions });
    const request = aRequest({ steps: [{ argv: ['echo'] }], profile: { memory: 512 * MiB }, session: 's' });
    await dispatcher.submit(checkJob(request));
    assert.equal(driver('a').containers.size, 1, 'it is kept');
    driver('a').faults = { room: 512 * MiB };
    assert.equal((await dispatcher.submit(job())).attempt, 2);
    await dispatcher.close();
    await close();
  });

  it('one that is cancelled while it pauses is cancelled at once', async () => {
    const { dispatcher, driver, book, close } = await dispatching(['a']);
    driver('a').faults = { room: 0 };
    const cancel = new AbortController();
    const run = dispatcher.submit(job(), { signal: cancel.signal });
    await until(() => dispatcher.waiting === 1);
    cancel.abort();
    await assert.rejects(run, refuses('run.cancelled'));
    assert.deepEqual(book, ['begin 1 on a', 'lost 1', 'cancel']);
    await close();
  });
});

describe('dispatcher: the queue', () => {
  const full = { settings: { a: { reserve: { bytes: 7680 * MiB } } } }; // leaves room for one run

  it('a run without room waits, and starts when there is room', async () => {
    const { dispatcher, driver, close } = await dispatching(['a'], full);
    const first = dispatcher.submit(job(['hold']));
    await until(() => driver('a').holding === 1);
    const second = dispatcher.submit(job(['echo', '2']), { id: 'second' });
    await until(() => dispatcher.waiting === 1);
    assert.deepEqual([dispatcher.position('second'), dispatcher.position('other'), dispatcher.running], [1, undefined, 1]);
    driver('a').letGo();
    await Promise.all([first, second]);
    assert.deepEqual([dispatcher.waiting, dispatcher.running, driver('a').executed], [0, 0, ['hold', 'echo 2']]);
    await close();
  });

  it('a run that waited too long is refused, and says what was in the way', async () => {
    const { dispatcher, driver, book, close } = await dispatching(['a'], full);
    const first = dispatcher.submit(job(['hold']));
    await until(() => driver('a').holding === 1);
    await assert.rejects(dispatcher.submit(job(['echo'], { queueMs: 1 })), refuses('queue.deadline', /a: memory: /));
    assert.ok(book.includes('fail -: queue.deadline'));
    driver('a').letGo();
    await first;
    await close();
  });

  it('if the queue is full, refuses a run with a time to try again', async () => {
    const limits = { runs: 2, bytes: MiB, perTenant: 1 };
    const { dispatcher, driver, close } = await dispatching(['a'], { ...full, limits });
    const held = dispatcher.submit(job(['hold']));
    await until(() => driver('a').holding === 1);
    const waits = [dispatcher.submit(job()), dispatcher.submit(job(['echo'], { tenant: 'other' }))];
    await until(() => dispatcher.waiting === 2);
    const tells = (about: RegExp) => (error: unknown) =>
      refuses('queue.full', about)(error) && ((error as KatafleetError).retryAfterMs ?? 0) >= 1_000;
    await assert.rejects(dispatcher.submit(job()), tells(/default has as many runs waiting/));
    await assert.rejects(dispatcher.submit(job(['echo'], { tenant: 'third' })), tells(/the queue has as many runs as it may/));
    driver('a').letGo();
    await Promise.all([held, ...waits]);
    await dispatcher.submit(job());
    await close();
  });

  it('bytes that wait are bounded too', async () => {
    const { dispatcher, driver, close } = await dispatching(['a'], { ...full, limits: { runs: 100, bytes: 1_000, perTenant: 100 } });
    const held = dispatcher.submit(job(['hold']));
    await until(() => driver('a').holding === 1);
    const big = checkJob({
      image: 'any',
      files: [{ path: 'f', mode: 0, mtimeNs: 0n, content: Buffer.alloc(2_000) }],
      steps: [{ argv: ['x'] }],
    });
    await assert.rejects(dispatcher.submit(big), refuses('queue.full', /bytes/));
    driver('a').letGo();
    await held;
    await close();
  });

  it('a run that waits is cancelled without a trace; one that runs keeps what it printed', async () => {
    const { dispatcher, driver, book, close } = await dispatching(['a'], full);
    const [running, waiting] = [new AbortController(), new AbortController()];
    const first = dispatcher.submit(job(['hold', 'x']), { signal: running.signal });
    await until(() => driver('a').holding === 1);
    const second = dispatcher.submit(job(['echo']), { signal: waiting.signal });
    await until(() => dispatcher.waiting === 1);
    waiting.abort();
    await assert.rejects(second, refuses('run.cancelled'));
    running.abort();
    const result = await first;
    assert.deepEqual([result.outcome.kind, result.steps[0]?.stdout.toString()], ['cancelled', 'hold x']);
    assert.deepEqual(book, ['begin 1 on a', 'cancel', 'finish 1']);
    await assert.rejects(dispatcher.submit(job(), { signal: AbortSignal.abort() }), refuses('run.cancelled'));
    await close();
  });

  it('a run that is lost after it was cancelled is not tried again', async () => {
    const { dispatcher, driver, nodeOf, book, close } = await dispatching(['a', 'b']);
    const cancel = new AbortController();
    const running = dispatcher.submit(job(['hold']), { signal: cancel.signal });
    await until(() => nodeOf() !== '' && driver(nodeOf()).holding === 1);
    driver(nodeOf()).breakStreams();
    cancel.abort();
    await assert.rejects(running, refuses('run.cancelled'));
    assert.equal(book.filter((line) => line.startsWith('begin')).length, 1);
    await close();
  });

  it('when katafleet stops, running runs end, and waiting and lost ones stay for the next start', async () => {
    const { dispatcher, driver, book, close } = await dispatching(['a'], full);
    const first = dispatcher.submit(job(['hold']));
    await until(() => driver('a').holding === 1);
    const second = dispatcher.submit(job());
    await until(() => dispatcher.waiting === 1);
    dispatcher.stop();
    await assert.rejects(second, refuses('service.stopping'));
    await assert.rejects(dispatcher.submit(job()), refuses('service.stopping'));
    driver('a').letGo();
    assert.equal((await first).outcome.kind, 'exited');
    await dispatcher.idle();
    assert.deepEqual(book, ['begin 1 on a', 'finish 1']);
    await close();
  });

  it('one tenant’s hundred runs don’t delay another’s one, and a higher priority goes first', async () => {
    const { dispatcher, driver, close } = await dispatching(['a'], full);
    const runs = [dispatcher.submit(job(['hold']))];
    await until(() => driver('a').holding === 1);
    for (let index = 0; index < 100; index += 1) runs.push(dispatcher.submit(job(['echo', `many${index}`], { tenant: 'many' })));
    await until(() => dispatcher.waiting === 100);
    runs.push(dispatcher.submit(job(['echo', 'one'], { tenant: 'single' })));
    runs.push(dispatcher.submit(job(['echo', 'urgent'], { tenant: 'many', priority: 9 })));
    await until(() => dispatcher.waiting === 102);
    driver('a').letGo();
    await Promise.all(runs);
    const { executed } = driver('a');
    assert.equal(executed[1], 'echo urgent');
    assert.ok(executed.indexOf('echo one') <= 4, executed.slice(0, 8).join());
    await close();
  });
});

describe('dispatcher: what no node can ever take is refused at once, with the reasons; what none can take now waits', () => {
  it('an image that is nowhere', async () => {
    const { dispatcher, close } = await dispatching(['a', 'b']);
    await assert.rejects(dispatcher.submit(job([''], { image: 'nope' })), refuses('image.unknown', /no image "nope" on any node/));
    await close();
  });

  it('finds a very new image', async () => {
    const { dispatcher, driver, close } = await dispatching(['a']);
    driver('a').tags.push('fresh:latest');
    assert.equal((await dispatcher.submit(job(['echo'], { image: 'fresh' }))).node, 'a');
    await close();
  });

  it('more memory or CPUs than any node has', async () => {
    const { dispatcher, close } = await dispatching(['a', 'b']);
    await assert.rejects(
      dispatcher.submit(job([''], { memory: 9 * 1024 * MiB })),
      refuses('limits.invalid', /a: memory: 9 GiB asked for; it has 8 GiB .*; b: memory/),
    );
    await assert.rejects(dispatcher.submit(job([''], { cpus: 5 })), refuses('limits.invalid', /cpus: 5 asked for; it has 4/));
    await close();
  });

  it('constraints, each node with its own reason', async () => {
    const { dispatcher, driver, fleet, look, close } = await dispatching(['a', 'b'], { settings: { a: { labels: { zone: 'x' } } } });
    driver('b').fingerprint = { ...fakeFingerprint, memory: 100 * MiB };
    driver('b').faults = { unreachable: true };
    await look('b', 3);
    driver('b').faults = {};
    await look('b', 2);
    const impossible = dispatcher.submit(job([''], { constraints: ['zone!=x'] }));
    await assert.rejects(impossible, refuses('placement.impossible', /a: zone!=x wanted, its label is "x"; b: memory: 512 MiB asked for/));
    assert.equal(
      fleet.explain({ image: 'any:latest', pool: '', memory: 1, cpus: 1, idleMemory: 0, constraints: ['zone==x'] })[0]?.node,
      'a',
    );
    await close();
  });

  it('a run waits if the node that could take it is down or is not probed yet', async () => {
    const { dispatcher, driver, look, lose, close } = await dispatching(['a', 'b']);
    driver('a').inventory = [imageOf('1', ['only:latest'])];
    await look('a');
    await dispatcher.submit(job(['echo'], { image: 'only' }));
    await lose('a');
    await lose('b');
    const waits = dispatcher.submit(job(['echo', 'later'], { image: 'only' }));
    await until(() => dispatcher.waiting === 1);
    driver('a').faults = {};
    await look('a', 2);
    assert.equal((await waits).node, 'a');
    await close();
  });

  it('where runs don’t wait for nodes that are down, they are refused when the last is, with its trouble', async () => {
    const { dispatcher, driver, lose, close } = await dispatching(['a'], {
      patient: false,
      settings: { a: { reserve: { bytes: 7680 * MiB } } },
    });
    const [held, waits] = [dispatcher.submit(job(['hold'])), dispatcher.submit(job())];
    const both = Promise.allSettled([held, waits]);
    await until(() => driver('a').holding === 1);
    await lose('a');
    for (const end of await both) assert.ok(end.status === 'rejected' && refuses('engine.unreachable')(end.reason), end.status);
    await assert.rejects(dispatcher.submit(job()), refuses('engine.unreachable', /told not to answer/));
    await close();
  });
});
