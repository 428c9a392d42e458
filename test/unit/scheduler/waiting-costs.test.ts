import assert from 'node:assert/strict';
import { MiB } from '../../../src/base/units.ts';
import { queueFull } from '../../../src/runs/rejection.ts';
import { shapeOf as shapeOfJob } from '../../../src/runs/life/live-run.ts';
import { FairQueue } from '../../../src/scheduler/queue/queue.ts';
import { checkJob } from '../../../src/runs/job.ts';
import { aRequest } from '../../support/builders.ts';
import { addNode, facts, nodeName } from '../../support/cluster.ts';
import { scheduling } from '../../support/scheduling.ts';
import { waiting } from '../../support/waiting.ts';

/** A full fleet with so many shapes waiting, each of which has been passed over. */
function full(shapes: number) {
  const parts = scheduling(10, 1024 * MiB);
  const { cluster, scheduler, submit } = parts;
  for (const node of cluster.nodes()) cluster.reserve(node.facts.name, 1024 * MiB);
  for (let shape = 0; shape < shapes; shape += 1) submit(512, {}, { constraints: [`zone!=${shape}`] });
  scheduler.next(0);
  return parts;
}

describe('what waiting runs cost', () => {
  for (const shapes of [10, 2_000]) {
    it(`another run in the queue makes it look at that one only, with ${shapes} shapes waiting`, () => {
      const { scheduler, submit, looks } = full(shapes);
      looks.shapes = 0;
      for (let run = 0; run < 10; run += 1) {
        submit(512, {}, { constraints: [`zone!=new-${run}`] });
        scheduler.next(50);
      }
      assert.ok(looks.shapes <= 10 * 10, `${looks.shapes} looks for 10 runs`);
    });

    it(`the end of a run makes it look at what takes its place only, with ${shapes} shapes waiting`, () => {
      const { cluster, scheduler, looks } = full(shapes);
      cluster.release(nodeName(0), 512 * MiB);
      assert.ok(scheduler.next(50)); // wakes all that the first end could help
      assert.equal(scheduler.next(50), undefined);
      looks.shapes = 0;
      for (let end = 1; end < 10; end += 1) {
        cluster.release(nodeName(end), 512 * MiB);
        assert.equal(scheduler.next(50)?.decision.kind, 'place');
        assert.equal(scheduler.next(50), undefined);
      }
      assert.ok(looks.shapes <= 9 * 10, `${looks.shapes} looks for 9 ends`);
    });

    it(`the end of a run makes it look at none of ${shapes} shapes that it cannot help`, () => {
      const { cluster, scheduler, submit, looks } = scheduling(10, 1024 * MiB);
      for (let shape = 0; shape < shapes; shape += 1) submit(1024, {}, { constraints: [`zone!=${shape}`] });
      for (const node of cluster.nodes()) cluster.reserve(node.facts.name, 600 * MiB);
      scheduler.next(0);
      looks.shapes = 0;
      for (let end = 0; end < 10; end += 1) {
        cluster.release(nodeName(end), 100 * MiB);
        assert.equal(scheduler.next(50), undefined);
      }
      assert.ok(looks.shapes <= 100, `${looks.shapes} looks for 10 ends`);
    });
  }

  it('shapes that only a node which is away could take cost no looks at the others', () => {
    const [nodes, shapes] = [1_000, 200];
    const { cluster, scheduler, submit, looks } = scheduling(0);
    let nodeLooks = 0;
    for (let index = 0; index < nodes; index += 1) {
      const name = nodeName(index);
      addNode(cluster, name);
      const labels = index === nodes - 1 ? { gpu: 'yes' } : {};
      const watched = Object.defineProperty(facts(name), 'labels', { get: () => ((nodeLooks += 1), labels) });
      cluster.setNode(watched);
    }
    cluster.setHealth(nodeName(nodes - 1), 'down');
    for (let shape = 0; shape < shapes; shape += 1) submit(512 + shape, {}, { constraints: ['gpu==yes'] });
    for (let now = 0; now <= 6_000; now += 100) scheduler.next(now);
    nodeLooks = 0;
    looks.shapes = 0;
    for (let now = 6_100; now <= 10_000; now += 100) scheduler.next(now);
    assert.ok(nodeLooks < 40 * 10 * shapes, `${nodeLooks} looks at nodes in 40 turns`);
    nodeLooks = 0;
    looks.shapes = 0;
    cluster.setHealth(nodeName(5), 'suspect');
    cluster.setHealth(nodeName(5), 'ready');
    submit(512);
    assert.equal(scheduler.next(10_000)?.decision.kind, 'place');
    assert.ok(looks.shapes <= 10, `a node that flaps makes it look at ${looks.shapes} waiting runs`);
    assert.ok(nodeLooks < 10 * nodes, `a node that flaps makes it look at ${nodeLooks} nodes`);
    cluster.setHealth(nodeName(nodes - 1), 'ready');
    assert.equal(scheduler.next(10_050)?.decision.kind, 'place', 'the node they wait for is back');
  });

  it('runs that differ in what no node is chosen by have one shape, and sizes that are nearly the same too', () => {
    const shapeOf = (profile: object) => shapeOfJob(checkJob(aRequest({ profile })));
    const shapes = (profiles: object[]) => new Set(profiles.map(shapeOf)).size;
    const many = Array.from({ length: 1_000 }, (_, index) => index);
    assert.equal(shapes(many.map((more) => ({ pids: 4 + more }))), 1);
    assert.equal(shapes(many.map((more) => ({ openFiles: 1_025 + more, shm: 4_096 * more, stack: 65_536 + more }))), 1);
    assert.equal(shapes(many.map((more) => ({ cpus: 0.1 + more / 2_000 }))), 1);
    assert.ok(shapes(many.map((more) => ({ memory: 512 * MiB + more * MiB }))) <= 13);
  });

  it('a tenant may wait with so many shapes only; more runs of these, and other tenants, may wait', () => {
    const queue = new FairQueue<undefined>({ runs: 1_000, bytes: 1_000, perTenant: 500, shapesPerTenant: 3 });
    const admit = (tenant: string, shape: string) => {
      const run = waiting({ tenant, shape });
      const answer = queue.admit(run);
      return { id: run.id, why: answer.admitted ? undefined : answer.why };
    };
    const [first] = ['a', 'b', 'c'].map((shape) => admit('one', shape).id);
    for (let other = 0; other < 10; other += 1) admit(`tenant-${other}`, 'a');
    assert.equal(admit('one', 'd').why, 'shapes');
    assert.deepEqual([admit('one', 'c').why, admit('two', 'd').why], [undefined, undefined]);
    assert.ok(queue.remove(first ?? ''));
    assert.equal(admit('one', 'd').why, undefined);
    assert.equal(queueFull(checkJob(aRequest()), { admitted: false, why: 'shapes', retryAfterMs: 1 }).code, 'queue.full');
  });
});
