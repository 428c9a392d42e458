import assert from 'node:assert/strict';
import { endpoint } from '../support/fleet.ts';
import { type RunAnswer, Service } from '../support/service.ts';
import { stubEngine } from '../support/stub-engine.ts';
import { until } from '../support/until.ts';

const image = 'build-essential';
const profiles = { default: { memory: '64m' } };

describe('katafleet serve, when its configuration is read again', () => {
  it('takes and gives up nodes, pools and profiles, loses no run, and refuses a faulty file in words', async function () {
    this.timeout(180_000);
    await using stub = await stubEngine();
    const real = { name: 'real', endpoint };
    const added = { name: 'added', endpoint: stub.endpoint, labels: { zone: 'new' } };
    const base = { profiles, schedules: { reap: 'off' } };
    await using service = await Service.start({ ...base, nodes: [real] });
    const state = async (name: string) => (await service.nodes())[name]?.state;
    await until(async () => (await state('real')) === 'ready');
    const run = await service.call<RunAnswer>('POST', '/v1/runs', { image, command: ['sh', '-c', 'sleep 6; echo ended'] });
    await until(async () => (await service.call<RunAnswer>('GET', `/v1/runs/${run.id}`)).state === 'running');

    await service.reload({ ...base, nodes: [real, added], nonsense: 1 });
    await until(() => /the configuration is refused.*nonsense/.test(service.log));
    assert.deepEqual(Object.keys(await service.nodes()), ['real'], 'the one of before stays');

    const pools = [{ image, profile: 'small', idle: { min: 1, max: 1 } }];
    const more = { ...base, profiles: { ...profiles, small: { memory: '32m' } }, pools, queue: { runs: 7 } };
    await service.reload({ ...more, nodes: [real, added] });
    await until(async () => (await state('added')) === 'ready');
    await until(async () => ((await service.nodes())['real']?.sandboxes.idle ?? 0) > 0);
    assert.match(service.log, /takes effect at the next start: queue\.runs/);
    assert.match(service.log, /added: added/);

    await service.reload({ ...base, nodes: [added] });
    await until(async () => (await service.nodes())['real']?.cordoned === 'draining');
    const ended = await service.ended(run);
    assert.deepEqual([ended.state, ended.result?.node, ended.attempts.length], ['finished', 'real', 1], service.log);
    assert.match(ended.result?.steps[0]?.stdout ?? '', /ended/);
    await until(async () => !('real' in (await service.nodes())));
    assert.deepEqual(Object.keys(await service.nodes()), ['added']);
    assert.equal(await service.stop(), 0);
  });
});
