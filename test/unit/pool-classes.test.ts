import assert from 'node:assert/strict';
import fc from 'fast-check';
import { limits } from '../../src/model/limits.ts';
import { poolKey, profileOf, sandboxLimits } from '../../src/model/profile.ts';

describe('pools of sandboxes', () => {
  it('are few for limits that a program cannot observe on its sandbox', () => {
    const pools = (profiles: Parameters<typeof profileOf>[0][]) =>
      new Set(profiles.map((profile) => poolKey('a', sandboxLimits(profileOf(profile))))).size;
    const many = Array.from({ length: 4_000 }, (_, index) => index);
    assert.ok(pools(many.map((more) => ({ openFiles: 16 + 200 * more }))) <= 11);
    assert.ok(pools(many.map((more) => ({ cpus: 1 + more / 4_000 }))) <= 101);
    assert.equal(pools(many.map((more) => ({ shm: 4_096 * 9 - more }))), 1);
    assert.equal(pools(many.map((more) => ({ stack: 65_536 + more, fileSize: more, wallMs: 10 + more }))), 1);
  });

  it('never give less than was asked for, nor more memory or processes', () => {
    const { cpus, openFiles, shm, memory, pids } = limits;
    const profile = fc.record({
      cpus: fc.double({ min: cpus.min, max: cpus.max, noNaN: true }),
      openFiles: fc.integer(openFiles),
      shm: fc.integer(shm),
      memory: fc.integer(memory),
      pids: fc.integer(pids),
    });
    fc.assert(
      fc.property(profile, (asked) => {
        const given = sandboxLimits(profileOf(asked));
        assert.deepEqual([given.memory, given.pids], [asked.memory, asked.pids]);
        assert.ok(given.cpus > asked.cpus - 1e-6 && given.cpus < asked.cpus + 0.0101, `${given.cpus}`);
        assert.ok(given.shm >= asked.shm && given.shm < asked.shm + 4_096);
        const files = given.openFiles ?? 1_024;
        assert.ok(files >= asked.openFiles && files <= Math.max(1_024, 2 * asked.openFiles) && files <= openFiles.max);
      }),
    );
  });
});
