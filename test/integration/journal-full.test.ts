import assert from 'node:assert/strict';
import { join } from 'node:path';
import { eventually } from '../support/eventually.ts';
import { until } from '../support/until.ts';
import { fakeService, placed, runOf } from '../support/fake-service.ts';
import { endpoint } from '../support/fleet.ts';
import { ApiError, Service } from '../support/service.ts';
import { SmallDisk } from '../support/small-disk.ts';

const KiB = 1024;
const long = 60_000;

describe('the journal’s disk is full', () => {
  it('ends that can’t be written are kept, told when they are written, and nothing new is taken meanwhile', async () => {
    using disk = new SmallDisk(600 * KiB);
    const { service, driver, close } = await fakeService(['a'], { file: join(disk.folder, 'journal.db') });
    const ids: string[] = [];
    for (let run = 0; run < 3; run += 1) ids.push((await service.accept(runOf(['hold', 'x'.repeat(5_000)]), placed())).id);
    await until(() => driver('a').holding === 3);
    disk.fill();
    driver('a').letGo();
    await until(() => service.dispatcher.running === 0);
    const early = await Promise.all(ids.map((id) => service.wait(id, 50)));
    assert.ok(
      early.every(({ endedAt }) => endedAt === undefined),
      'no end is told that is not written',
    );
    await assert.rejects(service.accept(runOf(['echo']), placed(), 'k'), { code: 'journal.full', httpStatus: 507, retry: true });
    const waiting = Promise.all(ids.map((id) => service.wait(id, long)));
    disk.empty();
    assert.deepEqual(
      (await waiting).map(({ state, result }) => [state, result?.outcome]),
      ids.map(() => ['finished', { kind: 'exited', code: 0 }]),
    );
    const { id } = await service.accept(runOf(['echo']), placed(), 'k');
    assert.equal((await service.wait(id, long)).state, 'finished');
    await close();
  });

  it('a run that waited for its node ends when there is room again, and no attempt is lost', async () => {
    using disk = new SmallDisk(600 * KiB);
    const { service, driver, look, close } = await fakeService(['a'], { file: join(disk.folder, 'journal.db'), attempts: 1 });
    driver('a').faults = { unreachable: true };
    await look('a', 3);
    const { id } = await service.accept(runOf(['echo']), placed());
    disk.fill();
    driver('a').faults = {};
    await look('a', 2);
    await until(() => service.dispatcher.running === 0);
    const early = await service.wait(id, 50);
    assert.equal(early.endedAt, undefined, 'no end is told that is not written');
    disk.empty();
    const { state, attempts } = await service.wait(id, long);
    assert.deepEqual([state, attempts.length], ['finished', 1]);
    await close();
  });

  it('an end in peace leaves what is owed to the next', async () => {
    using disk = new SmallDisk(600 * KiB);
    const file = join(disk.folder, 'journal.db');
    const first = await fakeService(['a'], { file });
    const { id } = await first.service.accept(runOf(['hold']), placed());
    await until(() => first.driver('a').holding === 1);
    disk.fill();
    first.driver('a').letGo();
    await until(() => first.service.dispatcher.running === 0);
    await first.close();
    disk.empty();
    const next = await fakeService(['a'], { file });
    await next.service.recover();
    await until(() => next.driver('a').holding === 1);
    next.driver('a').letGo();
    assert.equal((await next.service.wait(id, long)).state, 'finished');
    await next.close();
  });

  it('under katafleet serve: it goes on, cordons truly, and runs again when there is room', async () => {
    using disk = new SmallDisk(600 * KiB);
    await using service = await Service.start({
      nodes: [{ name: 'one', endpoint }],
      journal: { file: join(disk.folder, 'journal.db') },
      profiles: { small: { memory: '64m' } },
    });
    const one = async () => (await service.nodes())['one'];
    await eventually('the node is ready', 20, async () => assert.equal((await one())?.state, 'ready'));
    const request = { image: 'build-essential', profile: 'small', files: {}, command: ['bash', '-c', 'sleep 1; echo over'] };
    const run = await service.call<{ id: string }>('POST', '/v1/runs', request);
    const current = () => service.call<{ state: string; endedAt?: number }>('GET', `/v1/runs/${run.id}`);
    await eventually('the run is under way', 20, async () => assert.equal((await current()).state, 'running'));
    disk.fill();
    const refused = (error: unknown) => error instanceof ApiError && error.status === 507 && /journal\.full/.test(error.message);
    await assert.rejects(service.call('POST', '/v1/nodes/one/cordon'), refused);
    assert.equal((await one())?.cordoned, 'no');
    await eventually('new runs are refused', 20, () =>
      assert.rejects(service.call('POST', '/v1/runs', { ...request, command: ['echo', 'x'.repeat(4_000)] }), refused),
    );
    const asked = performance.now();
    const early = await service.call<{ endedAt?: number }>('GET', `/v1/runs/${run.id}?wait=2`);
    assert.ok(early.endedAt !== undefined || performance.now() - asked >= 1_900, 'a wait is no hot loop');
    disk.empty();
    const ended = await service.call<{ state: string; result: { steps: { stdout: string }[] } }>('GET', `/v1/runs/${run.id}?wait=60`);
    assert.deepEqual([ended.state, ended.result.steps[0]?.stdout], ['finished', 'over\n']);
    await eventually('the next write shows that there is room', 20, async () =>
      assert.equal((await service.run(request)).state, 'finished'),
    );
    assert.equal(await service.stop(), 0, service.log);
  });
});
