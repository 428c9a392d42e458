import assert from 'node:assert/strict';
import { EngineDriver } from '../../src/drivers/engine/driver.ts';
import { endpoint, sh, stdout, testFleet } from '../support/fleet.ts';

describe('two katafleets on one real engine', () => {
  it('never run more than its memory holds, all runs come back, and nothing is left', async function () {
    this.timeout(120_000);
    const engine = new EngineDriver({ endpoint });
    const { memory } = await engine.probe();
    // Two of them fit beside the machine's reserve of a tenth. The programs take nothing of it.
    const profile = { memory: Math.floor(memory * 0.4), wallMs: 60_000 };
    {
      await using one = testFleet();
      await using other = testFleet();
      const runs = [one, other, one, other, one, other].map((fleet) =>
        sh(fleet, 'date +%s%N; sleep 1; date +%s%N', { profile }).then((result) => stdout(result).trim().split('\n').map(Number)),
      );
      const times = await Promise.all(runs);
      const together = times.map(([begun = NaN]) => times.filter(([from = NaN, to = NaN]) => from <= begun && begun < to).length);
      assert.ok(Math.max(...together) <= 2, `at the start of each run so many ran: ${together.join(', ')}`);
      assert.equal(times.flat().filter(Number.isFinite).length, 12);
    }
    assert.deepEqual(await engine.list(), []);
    engine.close();
  });

  it('name each container after its owner and its limit', async () => {
    await using fleet = testFleet();
    await fleet.warm('build-essential', 1, { memory: 64 * 1024 ** 2 });
    const engine = new EngineDriver({ endpoint });
    const [listed] = await engine.list();
    assert.equal(listed?.memory, 64 * 1024 ** 2);
    const exact = await engine.createdAt(listed?.id ?? '');
    assert.equal(Math.floor((exact ?? 0) / 1_000) * 1_000, listed?.created);
    const docker = await engine.client();
    const { Name } = await docker.getContainer(listed?.id ?? '').inspect();
    assert.match(Name, /^\/katafleet-[0-9a-f-]{36}-\d+-m67108864$/);
    engine.close();
  });
});
