import assert from 'node:assert/strict';
import { storm } from '../stress/chaos/storm.ts';
import { faultKinds } from '../stress/chaos/table.ts';

const seed = Date.now() % 1_000_000;

describe('chaos (the whole of it: npm run test:chaos)', function () {
  this.timeout(580_000); // of which two minutes are faults, and most of the rest is left for a busy machine

  it(`two minutes of every fault: no run is lost or doubled, and nothing is left over (seed ${seed})`, async () => {
    const lines: string[] = [];
    const report = await storm({ seed, minutes: 2, clients: 5, hosts: 4, swarm: 3, told: (line) => lines.push(line) });
    const { findings, surprises, troubles, leftOver, acknowledged, table } = report;
    console.log(table.toString().replace(/^/gm, '      '));
    const about = `seed ${seed}\n${lines.join('\n')}\n${report.log}`;
    const nothing = { findings: [], surprises: [], troubles: [], leftOver: [] };
    assert.deepEqual({ findings, surprises, troubles, leftOver }, nothing, about);
    assert.ok(acknowledged > 20, `there was a load: ${acknowledged} runs`);
    assert.ok(faultKinds.filter((kind) => table.strikes(kind) > 0).length >= 6, 'most faults struck');
  });

  it('finds a run whose commit was dropped after it was acknowledged', async () => {
    const report = await storm({ seed, minutes: 0.2, clients: 4, hosts: 1, swarm: 0, kinds: [], inject: 'drop-commit' });
    assert.ok(
      report.findings.some(({ kind }) => kind === 'lost'),
      JSON.stringify({ ...report, table: undefined }),
    );
  });
});
