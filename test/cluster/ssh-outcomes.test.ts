import assert from 'node:assert/strict';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Katafleet } from '../../src/app/library.ts';
import { sh, stdout } from '../support/fleet.ts';
import { sshFleet, sshNode } from '../support/ssh-fleet.ts';
import { Testbed } from '../support/testbed.ts';

const MiB = 1024 ** 2;
const small = { profile: { memory: 64 * MiB, wallMs: 60_000 } };

/** What Docker 1.6.2 shows of itself to a sandbox is less than what later engines show; the outcomes are the same. */
describe('outcomes on Docker 1.6.2', function () {
  this.timeout(180_000);
  let bed: Testbed;
  before(async () => {
    bed = await Testbed.up({ hosts: 1 });
    await bed.useOldDocker('h1');
    mkdirSync(bed.path('h1', '/etc/docker-1.6'), { recursive: true });
  });
  after(() => bed?.down());

  /** A fleet of the host while it lacks something. */
  async function lacking(what: string | undefined, use: (fleet: Katafleet) => Promise<void>): Promise<void> {
    const flag = what === undefined ? undefined : join(bed.path('h1', '/etc/docker-1.6'), `without-${what}`);
    if (flag !== undefined) writeFileSync(flag, '');
    const fleet = await sshFleet([sshNode(bed, 'h1', { withoutMemoryLimits: what === 'memory' })]);
    try {
      await use(fleet);
    } finally {
      await fleet.close();
      if (flag !== undefined) rmSync(flag);
    }
  }

  it('memory that ran out is told, whoever was killed', () =>
    lacking(undefined, async (fleet) => {
      for (const script of ['tail /dev/zero', 'tail /dev/zero; exit 0', 'tail /dev/zero; exit 3']) {
        const result = await sh(fleet, `echo before; ${script}`, small);
        assert.deepEqual([result.outcome, stdout(result)], [{ kind: 'out_of_memory' }, 'before\n'], script);
        assert.ok((result.steps[0]?.oomKills ?? 0) >= 1);
      }
      const well = await sh(fleet, 'head -c 20000000 /dev/zero | tail >/dev/null; exit 3', small);
      assert.deepEqual(well.outcome, { kind: 'exited', code: 3 });
      assert.ok((well.steps[0]?.peakMemory ?? 0) > 20_000_000);
    }));

  it('CPU time is that of all processes together', () =>
    lacking(undefined, async (fleet) => {
      const limits = { profile: { cpuMs: 500, wallMs: 120_000 } };
      const busy = 'while :; do :; done';
      for (const script of [`(${busy}) & (${busy}) & wait`, 'while :; do /bin/true; done']) {
        assert.deepEqual((await sh(fleet, script, limits)).outcome, { kind: 'timed_out', clock: 'cpu' }, script);
      }
    }));

  it('a node without memory cgroups runs what it is given, if its configuration says so', () =>
    lacking('memory', async (fleet) => {
      const [node] = fleet.fleet.nodes();
      assert.deepEqual([node?.state, node?.trouble], ['ready', undefined]);
      assert.deepEqual((await sh(fleet, 'exit 7', small)).outcome, { kind: 'exited', code: 7 });
    }));
});
