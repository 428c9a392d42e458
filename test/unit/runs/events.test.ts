import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { KatafleetError } from '../../../src/model/errors.ts';
import { comparePlaces, placeOf, RunEvent } from '../../../src/model/run-event.ts';
import { RunLog } from '../../../src/runs/events/run-log.ts';
import { replayAttempt } from '../../../src/runs/events/replay.ts';
import { OutputBudget } from '../../../src/runs/room/output-budget.ts';
import { MiB } from '../../support/fake-fleet.ts';
import { fakeService, placed, runOf } from '../../support/fake-service.ts';
import { collectGarbage } from '../../support/garbage.ts';
import { until } from '../../support/until.ts';

const long = 60_000;
const types = (events: readonly RunEvent[]) => events.map(({ type }) => type);
const printed = (events: readonly RunEvent[]) =>
  Buffer.concat(events.flatMap((event) => (event.type === 'stdout' ? [event.bytes] : []))).toString();

describe('the event log of a run', () => {
  it('tells a run from its queue to its end, each event with a later id', async () => {
    const { service, driver, close } = await fakeService(['a']);
    const { id } = await service.accept(runOf(['hold', 'x']), placed());
    const events: RunEvent[] = [];
    const reading = (async () => {
      for await (const event of service.events(id)) events.push(event);
    })();
    await until(() => driver('a').holding === 1);
    driver('a').letGo();
    await reading;
    assert.deepEqual(types(events), ['queued', 'placed', 'attempt', 'stdout', 'step', 'ended']);
    for (const event of events) assert.deepEqual(RunEvent.parse(event), event);
    for (let at = 1; at < events.length; at += 1) {
      assert.ok(comparePlaces(placeOf(events[at - 1]?.id ?? ''), placeOf(events[at]?.id ?? '')) < 0);
    }
    assert.equal(printed(events), 'hold x');
    assert.deepEqual(await service.read(id, { after: events[2]?.id ?? '' }), events.slice(3), 'whoever was reading may come back');
    assert.deepEqual(await service.read(id, { after: events.at(-1)?.id ?? '', waitMs: long }), [], 'nothing comes after the end');
    await close();
  });

  it('says that a lost attempt is void, and goes on with the next number', async () => {
    const { service, driver, close } = await fakeService(['a'], { attempts: 5 });
    const { id } = await service.accept(runOf(['hold']), placed());
    const reading = (async () => {
      const events: RunEvent[] = [];
      for await (const event of service.events(id)) events.push(event);
      return events;
    })();
    await until(() => driver('a').holding === 1);
    driver('a').breakStreams();
    await until(() => driver('a').executed.length === 2);
    driver('a').letGo();
    const events = await reading;
    const from = events.findIndex(({ type }) => type === 'void');
    assert.deepEqual(types(events.slice(from)), ['void', 'queued', 'placed', 'attempt', 'stdout', 'step', 'ended']);
    assert.ok(placeOf(events.at(-1)?.id ?? '').attempt > placeOf(events[from]?.id ?? '').attempt);
    await close();
  });

  it('is told again from the record where it is not kept, and says so', async () => {
    const { service, close } = await fakeService(['a']);
    const { id } = await service.accept(runOf(['echo', 'hi']), placed());
    await service.wait(id, long);
    const whole = await service.read(id);
    assert.deepEqual(types(whole), ['queued', 'placed', 'attempt', 'stdout', 'step', 'ended']);
    assert.ok(whole.every((event) => placeOf(event.id).attempt === replayAttempt));
    const late = await service.read(id, { after: '1.2' });
    assert.deepEqual(types(late).slice(0, 2), ['gap', 'void']);
    const gap = late[0];
    assert.ok(gap?.type === 'gap' && gap.from === '1.3');
    assert.equal(printed(late), printed(whole));
    const paged: RunEvent[] = [];
    for (
      let after = '0.0', page = await service.read(id, { after, limit: 2 });
      page.length > 0;
      page = await service.read(id, { after, limit: 2 })
    ) {
      assert.ok(page.length <= 2);
      paged.push(...page);
      after = page.at(-1)?.id ?? after;
    }
    assert.deepEqual(paged, whole);
    await assert.rejects(service.read('nobody'), { code: 'run.unknown' });
    await close();
  });

  it('goes on after a restart with ids that were never used, and tells the gap', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'katafleet-events-'));
    const file = join(folder, 'journal.db');
    const first = await fakeService(['a'], { file });
    const { id } = await first.service.accept(runOf(['hold', 'x']), placed());
    await until(() => first.driver('a').holding === 1);
    await until(async () => (await first.journal.counts()).running === 1);
    const before = await first.service.read(id);
    const last = before.at(-1)?.id ?? '';
    await first.crash();
    const second = await fakeService(['a'], { file });
    const waiting = second.service.read(id, { after: last, waitMs: long }); // it is not taken up yet
    await second.service.recover();
    const [gap] = await waiting;
    assert.ok(gap?.type === 'gap' && comparePlaces(placeOf(gap.id), placeOf(last)) > 0);
    await until(() => second.driver('a').holding === 1);
    second.driver('a').letGo();
    const after: RunEvent[] = [];
    for await (const event of second.service.events(id, { after: last })) after.push(event);
    const used = new Set(before.map((event) => event.id));
    assert.ok(after.every((event) => !used.has(event.id)));
    assert.deepEqual(types(after), ['gap', 'queued', 'placed', 'attempt', 'stdout', 'step', 'ended']);
    await second.close();
    rmSync(folder, { recursive: true });
  });

  it('keeps the latest within its window, and tells what it dropped', () => {
    const budget = new OutputBudget(8 * MiB);
    const log = new RunLog(0, budget.window());
    for (let chunk = 0; chunk < 100; chunk += 1) void log.output(0, 'stdout', Buffer.alloc(64 * 1024));
    const events = log.after(placeOf('0.0'));
    assert.equal(events[0]?.type, 'gap');
    assert.ok(events.length > 5 && events.length < 20, String(events.length));
    assert.equal(events.at(-1)?.id, '0.100');
    assert.ok(budget.held <= MiB);
    log.close();
    assert.equal(budget.held, 0);
  });

  it('gives a run that is joined by its key its whole output', async () => {
    const { service, driver, close } = await fakeService(['a']);
    const heard: string[][] = [[], []];
    const run = (which: number) =>
      service.run(runOf(['hold', 'x']), { key: 'k', onOutput: (_step, _stream, bytes) => void heard[which]?.push(bytes.toString()) });
    const both = Promise.all([run(0), run(1)]);
    await until(() => driver('a').holding === 1);
    driver('a').letGo();
    const [one, two] = await both;
    assert.equal(one?.id, two?.id);
    assert.deepEqual(
      heard.map((parts) => parts.join('')),
      ['hold x', 'hold x'],
    );
    assert.equal(driver('a').executed.length, 1);
    await close();
  });

  it('gives a run that is joined by its key the error with which it failed', async () => {
    const { service, driver, close } = await fakeService(['a']);
    const large = { profile: { memory: 6 * 1024 * MiB } };
    await service.accept(runOf(['hold'], large), placed());
    await until(() => driver('a').holding === 1);
    const run = () => service.run(runOf(['x'], large), { key: 'k', placing: placed({ queueMs: 200 }) });
    const ends = await Promise.allSettled([run(), run()]);
    for (const end of ends) assert.equal(end.status === 'rejected' && (end.reason as KatafleetError).code, 'queue.deadline');
    driver('a').letGo();
    await close();
  });

  it('leaves nothing behind, however many wait for it', async function () {
    this.timeout(120_000);
    const { service, driver, close } = await fakeService(['a']);
    const { id } = await service.accept(runOf(['hold']), placed());
    await until(() => driver('a').holding === 1);
    const client = new AbortController();
    const wait = () => Promise.all(Array.from({ length: 1_000 }, () => service.ended(id, 1, client.signal)));
    const heap = async () => {
      await collectGarbage(5);
      return process.memoryUsage().heapUsed;
    };
    for (let round = 0; round < 10; round += 1) await wait();
    const before = await heap();
    for (let round = 0; round < 100; round += 1) await wait();
    const grown = (await heap()) - before;
    assert.ok(grown < 4 * MiB, `100,000 waits left ${grown} bytes`);
    assert.equal(service.waiters, 0);
    driver('a').letGo();
    await service.wait(id, long);
    await close();
  });
});
