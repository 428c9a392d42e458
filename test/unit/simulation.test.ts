import assert from 'node:assert/strict';
import { variants } from '../simulation/policies.ts';
import { Simulation } from '../simulation/simulation.ts';
import { workload } from '../simulation/workload.ts';
import { seeded } from '../support/random.ts';

const simulate = (variant: (typeof variants)[number], seed: number) =>
  new Simulation(variant, { nodes: 20, presses: workload({ runs: 2_000, random: seeded(seed) }), seed }).run();

describe('the simulation', () => {
  for (const variant of variants) {
    // That no run ends twice and that no node's containers may take more than it has is asserted inside, at every change.
    it(`${variant.name}: every run ends once, and memory is never overbooked`, async () => {
      const { runs, done, failed, expired, booked } = await simulate(variant, 3);
      assert.deepEqual([runs, done + failed + expired], [2_000, 2_000]);
      assert.ok(done > 1_900, `${done} done`);
      assert.ok(booked.node > 0.3 && booked.node <= 1, String(booked.node));
    });
  }

  it('the same seed gives the same report, another seed another', async () => {
    const [variant] = variants;
    assert.ok(variant);
    const [one, same, other] = [await simulate(variant, 1), await simulate(variant, 1), await simulate(variant, 2)];
    assert.deepEqual(one, same);
    assert.notDeepEqual(one, other);
  });
});
