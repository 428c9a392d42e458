import type { MaintenanceRecord } from '../../src/model/run-store.ts';
import assert from 'node:assert/strict';
import { labels } from '../../src/model/labels.ts';
import { Maintenance, type MaintenanceMemory } from '../../src/fleet/upkeep/maintenance.ts';
import { prunePlan } from '../../src/fleet/upkeep/prune.ts';
import { beginLook } from '../../src/drivers/docker/looks.ts';
import { reapPlan, reapReason } from '../../src/fleet/upkeep/reaper.ts';
import { FakeDriver } from '../support/fake-driver.ts';
import { imageOf, recipeImage } from '../support/fake-fleet.ts';

const day = 86_400_000;
const hour = 3_600_000;
const unexpected = (message: string): never => {
  throw new Error(`nothing was to go wrong: ${message}`);
};

describe('reaping', () => {
  const view = { now: 100_000, fleet: 'mine', inUse: new Set<string>(), journal: { identity: 'J', epoch: 5 }, gone: () => false };
  const why = (own: Record<string, string>, more: object = {}) => reapReason({ id: 'x', running: true, labels: own }, { ...view, ...more });

  it('removes containers that an earlier katafleet of this journal made, and keeps those of this one or of another journal', () => {
    assert.match(why({ [labels.fleet]: 'J', [labels.epoch]: '4' }) ?? '', /before katafleet was started again/);
    assert.equal(why({ [labels.fleet]: 'J', [labels.epoch]: '5' }), undefined);
    assert.equal(why({ [labels.fleet]: 'J', [labels.epoch]: '6' }), undefined);
    assert.equal(why({ [labels.fleet]: 'other', [labels.epoch]: '1' }), undefined);
    assert.equal(why({ [labels.fleet]: 'J', [labels.epoch]: '4' }, { journal: undefined }), undefined);
    assert.equal(why({ [labels.fleet]: 'J', [labels.epoch]: 'nonsense' }), undefined);
  });

  it('removes a container that looked into an image as soon as the look is over, or its process is gone', () => {
    const look = beginLook();
    const own = { ...look.labels, [labels.deadline]: '9e15' };
    assert.equal(why(own, { gone: () => false }), undefined);
    assert.match(why({ ...own, [labels.look]: 'another/1' }, { gone: () => true }) ?? '', /the process that made it is gone/);
    assert.equal(why({ ...own, [labels.look]: 'another/1' }, { gone: () => false }), undefined);
    look.end();
    assert.match(why(own, { gone: () => false }) ?? '', /its look into an image is over/);
  });

  it('a deadline has a grace', () => {
    const ended = (deadline: string, graceMs = 0) =>
      reapReason({ id: 'x', running: false, labels: { [labels.deadline]: deadline } }, { ...view, graceMs });
    assert.equal(ended('95000', 5_000), undefined);
    assert.match(ended('94999', 5_000) ?? '', /deadline/);
    assert.match(ended('99999') ?? '', /deadline/);
    assert.equal(ended('nonsense'), undefined);
  });

  it('does not remove a running sandbox of a katafleet whose clock is wrong: the engine’s own clock tells its age', () => {
    const now = 40 * day;
    const made = (behindMs: number, ageMs: number, more: object = {}, own: Record<string, string> = {}) =>
      reapReason(
        {
          id: 'x',
          running: true,
          created: now + 7_000 - ageMs,
          labels: { [labels.sandbox]: 'A/1', [labels.deadline]: String(now - ageMs - behindMs + 26 * hour), ...own },
          ...more,
        },
        { ...view, now, clockSkewMs: 7_000, graceMs: 60_000 },
      );
    assert.equal(made(27 * hour, 0), undefined, 'made just now by a clock that is 27 h behind');
    assert.equal(made(-day, 0), undefined);
    assert.match(made(0, 28 * hour) ?? '', /deadline/);
    assert.match(made(27 * hour, 3.5 * hour, {}, { [labels.lifetime]: String(hour) }) ?? '', /deadline/);
    assert.equal(made(27 * hour, 2.5 * hour, {}, { [labels.lifetime]: String(hour) }), undefined, 'the engine’s clock may have been set');
    assert.equal(made(0, 49 * hour, { created: undefined }), undefined);
    assert.match(made(0, 51 * hour, { created: undefined }) ?? '', /deadline/);
  });

  it('gives another owner longer to remove its ended containers: it may be stopped for a while', () => {
    const endedSince = new Map([['x', 0]]);
    const ended = (now: number, own: Record<string, string>) =>
      reapReason({ id: 'x', running: false, labels: own }, { ...view, now, graceMs: 60_000, endedSince });
    assert.match(ended(60_001, {}) ?? '', /has ended/);
    assert.equal(ended(299_999, { [labels.owner]: 'living' }), undefined);
    assert.match(ended(300_001, { [labels.owner]: 'living' }) ?? '', /has ended/);
  });

  it('removes an ended container a grace time after it was first seen ended, and keeps running and new ones', async () => {
    const driver = new FakeDriver();
    driver.plant('ended', { [labels.role]: 'sandbox' }, false);
    driver.plant('runs', { [labels.role]: 'sandbox' });
    const endedSince = new Map<string, number>();
    const plan = async (now: number) =>
      reapPlan(await driver.list(), { ...view, now, graceMs: 1_000, endedSince }).map(({ id, why }) => `${id}: ${why}`);
    assert.deepEqual(await plan(10_000), []);
    assert.deepEqual(await plan(11_000), []);
    assert.deepEqual(await plan(11_001), ['ended: it has ended and its owner does not remove it']);
    await driver.remove('ended');
    assert.deepEqual(await plan(12_000), []);
    driver.plant('ended', { [labels.role]: 'sandbox' }, false);
    assert.deepEqual(await plan(13_000), [], 'its time begins anew');
  });
});

describe('pruning', () => {
  const rules = { now: 100 * day, afterMs: 30 * day, keep: [], lastUsed: () => undefined, since: 0 };
  const names = (images: Parameters<typeof prunePlan>[0], more: Partial<Parameters<typeof prunePlan>[1]> = {}) =>
    prunePlan(images, { ...rules, ...more }).map(({ name }) => name);

  it('an image that is none of ours is never touched', () => {
    assert.deepEqual(names([imageOf('1', ['debian:12']), imageOf('2', []), imageOf('3', ['katafleet/look-alike:latest'])]), []);
  });

  it('removes an image of ours that no run has asked for, by any of its names, for long enough', () => {
    const image = recipeImage('1', ['katafleet/gcc:latest', 'mirror/gcc:1']);
    const used = (name: string, at: number) => (asked: string) => (asked === name ? at : undefined);
    assert.deepEqual(names([image]), ['katafleet/gcc:latest', 'mirror/gcc:1']);
    assert.deepEqual(names([image], { lastUsed: used('gcc:latest', 71 * day) }), []);
    assert.deepEqual(names([image], { lastUsed: used('katafleet/gcc:latest', 71 * day) }), []);
    assert.deepEqual(names([image], { lastUsed: used('gcc:latest', 69 * day) }), ['katafleet/gcc:latest', 'mirror/gcc:1']);
  });

  it('keeps images if uses are not remembered for long enough, if pruning is off, or if their names are to be kept', () => {
    const image = recipeImage('1', ['katafleet/gcc:latest']);
    assert.deepEqual(names([image], { since: 80 * day }), []);
    assert.deepEqual(names([image], { afterMs: undefined }), []);
    for (const keep of ['gcc', 'katafleet/gcc', 'docker.io/katafleet/gcc:latest', 'sha256:1'])
      assert.deepEqual(names([image], { keep: [keep] }), []);
    assert.deepEqual(names([image], { keep: ['gcc:13'] }), ['katafleet/gcc:latest']);
    const server = { [labels.recipe]: 'katafleet', [labels.service]: 'yes' };
    assert.deepEqual(names([imageOf('2', ['katafleet/katafleet:latest'], { labels: server })]), [], 'which no run ever asks for');
  });

  it('removes a build that lost its name to a later one, and an adapted image whose source is removed', () => {
    const adapted = (from: string) =>
      imageOf('9', ['katafleet/adapted:9'], { labels: { [labels.adaptedFrom]: from, [labels.recipe]: 'gcc' } });
    assert.deepEqual(names([recipeImage('1', ['<none>:<none>'])], { afterMs: undefined }), ['sha256:1']);
    assert.deepEqual(names([adapted('sha256:1')]), ['katafleet/adapted:9']);
    assert.deepEqual(names([adapted('sha256:1'), imageOf('1', ['debian:12'])]), []);
  });
});

describe('maintenance', () => {
  /** As the journal keeps it. */
  function memory() {
    const kept = new Map<string, MaintenanceRecord>();
    const none = { startedAt: undefined, endedAt: undefined, outcome: undefined, detail: undefined };
    const port: MaintenanceMemory = {
      maintenanceStarted: async (job, at) => void kept.set(job, { ...none, startedAt: at, outcome: 'running' }),
      maintenanceEnded: async (job, at, ok, detail) =>
        void kept.set(job, { ...none, ...kept.get(job), endedAt: at, outcome: ok ? 'done' : 'failed', detail }),
      maintenance: async (job) => kept.get(job),
    };
    return { kept, port };
  }
  const job = (run: (dryRun: boolean) => Promise<string>, schedule?: string) => ({ name: 'reap', what: 'removes', schedule, run });

  it('does a job once at a time: a second caller waits for the job under way', async () => {
    const { port, kept } = memory();
    let [runs, finish] = [0, (_detail: string): void => undefined];
    const maintenance = new Maintenance([job(() => ((runs += 1), new Promise((resolve) => (finish = resolve))))], port, unexpected);
    const both = [maintenance.run('reap'), maintenance.run('reap')];
    assert.deepEqual([(await maintenance.states())[0]?.running, kept.get('reap')?.outcome], [true, 'running']);
    finish('3 removed');
    assert.deepEqual([await Promise.all(both), runs], [['3 removed', '3 removed'], 1]);
    assert.deepEqual(
      [(await maintenance.states())[0]?.running, kept.get('reap')?.outcome, kept.get('reap')?.detail],
      [false, 'done', '3 removed'],
    );
    const again = maintenance.run('reap');
    finish('0 removed');
    assert.deepEqual([await again, runs], ['0 removed', 2]);
  });

  it('a dry run changes nothing, is not recorded, and does not wait', async () => {
    const { port, kept } = memory();
    let finish = (_detail: string): void => undefined;
    const maintenance = new Maintenance(
      [job((dryRun) => (dryRun ? Promise.resolve('would') : new Promise((resolve) => (finish = resolve))))],
      port,
      unexpected,
    );
    assert.equal(await maintenance.run('reap', true), 'would');
    assert.equal(kept.size, 0);
    const real = maintenance.run('reap');
    assert.equal(await maintenance.run('reap', true), 'would');
    finish('did');
    assert.equal(await real, 'did');
  });

  it('a failed job is reported and recorded, and can be done again', async () => {
    const { port, kept } = memory();
    const troubles: string[] = [];
    let fail = true;
    const maintenance = new Maintenance(
      [job(() => (fail ? Promise.reject(new Error('engine gone')) : Promise.resolve('fine')))],
      port,
      (message) => troubles.push(message),
    );
    await assert.rejects(maintenance.run('reap'), /engine gone/);
    assert.deepEqual(
      [kept.get('reap')?.outcome, kept.get('reap')?.detail, troubles],
      ['failed', 'engine gone', ['maintenance reap: engine gone']],
    );
    fail = false;
    assert.equal(await maintenance.run('reap'), 'fine');
    await assert.rejects(maintenance.run('nope'), /no job nope/);
  });

  it('records a job that an earlier process did not finish as failed', async () => {
    const { port, kept } = memory();
    await port.maintenanceStarted('reap', 1);
    const maintenance = new Maintenance([job(() => Promise.resolve(''))], port, unexpected);
    await maintenance.start(0);
    assert.deepEqual([kept.get('reap')?.outcome, kept.get('reap')?.detail], ['failed', 'katafleet ended in the middle of it']);
  });

  it('keeps schedules by itself, without overlap, tells when the next is, and waits for what is under way when it stops', async () => {
    const { port } = memory();
    let [begun, under, most] = [0, 0, 0];
    let next = Promise.resolve(0);
    let finish = (): void => undefined;
    const first = new Promise<void>((resolve) => {
      const run = async () => {
        most = Math.max(most, (under += 1));
        begun += 1;
        resolve();
        await new Promise<void>((end) => (finish = end));
        under -= 1;
        return 'done';
      };
      const maintenance = new Maintenance([{ ...job(run), schedule: '* * * * * *' }], port, unexpected);
      void maintenance.start(0);
      next = maintenance.states().then(([state]) => state?.next ?? 0);
      stop = () => maintenance.stop();
    });
    assert.ok((await next) > Date.now() - 1_000 && (await next) <= Date.now() + 1_000);
    await first;
    const stopped = stop();
    finish();
    await stopped;
    assert.deepEqual([begun, under, most], [1, 0, 1]);
  });
  let stop: () => Promise<void>;
});
