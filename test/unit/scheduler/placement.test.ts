import assert from 'node:assert/strict';
import fc from 'fast-check';
import { Cluster } from '../../../src/scheduler/place/cluster.ts';
import type { NodeVerdict } from '../../../src/model/verdict.ts';
import { explain, place, type Policy, type Wanted } from '../../../src/scheduler/place/placement.ts';
import { addNode, anyCluster, anyPolicy, anyWanted, nodeName, wanted } from '../../support/cluster.ts';
import { seeded } from '../../support/random.ts';

const MiB = 1024 ** 2;
const spread: Policy = { pack: 'spread' };
const binpack: Policy = { pack: 'binpack' };
const zero = () => 0;

type Passing = Extract<NodeVerdict, { kind: 'passes' }>;
const passing = (verdicts: readonly NodeVerdict[]) => verdicts.filter((verdict): verdict is Passing => verdict.kind === 'passes');

/** Whether the node passes, told from its parts and not by the filters. Also where only memory is in the way. */
function judge(cluster: Cluster, name: string, job: Wanted): { passes: boolean; ever: boolean } {
  const node = cluster.node(name);
  assert.ok(node);
  const { facts } = node;
  const state = Array.from(cluster.nodes()).find((other) => other.facts.name === name);
  const has = (other: typeof state) => other?.images.has(job.image) ?? false;
  const holders = Array.from(cluster.nodes()).filter((other) => has(other) && other.facts.architecture === facts.architecture);
  const labelled = job.constraints.every((constraint) => {
    const [key = '', value = ''] = constraint.split(/[=!]=/);
    return ((facts.labels[key] ?? '') === value) === constraint.includes('==');
  });
  const likes = labelled && (job.architecture === undefined || job.architecture === facts.architecture) && facts.memoryLimits !== 'missing';
  const within = ({ memory, cpus }: { memory: number; cpus: number }) => ({ memory: job.memory <= memory, cpus: job.cpus <= cpus });
  const [fits, machine, away] = [within(facts), within(facts.largest ?? facts), within(facts.largestOfAll ?? { memory: 0, cpus: 0 })];
  const suits = likes && fits.memory && fits.cpus && machine.memory && machine.cpus;
  // What is too large for those in use may wait for those that are away.
  const suitsOnce = likes && ((fits.memory && machine.memory) || away.memory) && ((fits.cpus && machine.cpus) || away.cpus);
  const warm = (state?.pools.get(job.pool) ?? 0) > 0;
  const image = has(state) || (facts.canObtain && holders.some(({ health }) => health === 'ready'));
  const passes =
    node.health === 'ready' &&
    node.cordoned === 'no' &&
    (node.heldFor === undefined || node.heldFor === job.id) &&
    suits &&
    image &&
    job.memory - (warm ? job.idleMemory : 0) <= node.free;
  const someUnknown = Array.from(cluster.nodes()).some(({ health }) => health === 'probing');
  const imageEver = has(state) || !facts.probed || node.health === 'probing' || (facts.canObtain && (holders.length > 0 || someUnknown));
  return { passes, ever: node.health !== 'unusable' && (!facts.probed || suitsOnce) && imageEver };
}

describe('scheduler: placement', () => {
  for (const [size, min, max, runs] of [
    ['small', 0, 12, 1_500],
    ['large', 65, 140, 250],
  ] as const) {
    it(`${size} fleets: a node is found when one passes, never one that does not, and wait and reject are told apart`, () => {
      fc.assert(
        fc.property(anyCluster(min, max), anyWanted(max), anyPolicy, fc.nat(), (build, job, policy, seed) => {
          const cluster = build();
          const verdicts = Array.from(cluster.nodes(), ({ facts: { name } }) => ({ name, ...judge(cluster, name, job) }));
          const decision = place(cluster, job, policy, seeded(seed));
          const able = verdicts.filter(({ passes }) => passes).map(({ name }) => name);
          if (decision.kind === 'place') {
            assert.ok(able.includes(decision.node), decision.node);
            assert.ok(cluster.reserve(decision.node, job.memory - (decision.warm ? job.idleMemory : 0)), 'there is room');
          } else {
            assert.deepEqual(able, []);
            assert.equal(decision.kind, verdicts.some(({ ever }) => ever) ? 'wait' : 'reject');
          }
        }),
        { numRuns: runs },
      );
    });

    it(`${size} fleets: explain gives every node once, with its reasons or its ranks`, () => {
      fc.assert(
        fc.property(anyCluster(min, max), anyWanted(max), anyPolicy, (build, job, policy) => {
          const cluster = build();
          const verdicts = explain(cluster, job, policy);
          assert.deepEqual(verdicts.map(({ node }) => node).sort(), Array.from(cluster.nodes(), ({ facts: { name } }) => name).sort());
          for (const verdict of verdicts) {
            const { passes, ever } = judge(cluster, verdict.node, job);
            assert.equal(verdict.kind === 'passes', passes, verdict.node);
            if (verdict.kind === 'passes') {
              assert.deepEqual(
                verdict.ranks.map(({ rank }) => rank).filter((rank) => rank !== 'avoid'),
                ['warm', 'image', 'load'],
              );
            } else {
              assert.equal(
                verdict.reasons.some(({ permanent }) => permanent),
                !ever,
                JSON.stringify(verdict),
              );
              for (const { text } of verdict.reasons) assert.doesNotMatch(text, /undefined|NaN|Infinity/);
            }
          }
          assert.equal(passing(verdicts).filter(({ chosen }) => chosen).length, passing(verdicts).length > 0 ? 1 : 0);
        }),
        { numRuns: runs / 5 },
      );
    });
  }

  it('in a fleet of up to 64 nodes it takes the best, which is the one that explain marks', () => {
    fc.assert(
      fc.property(anyCluster(0, 64), anyWanted(64), anyPolicy, (build, job, policy) => {
        const cluster = build();
        const [best] = passing(explain(cluster, job, policy));
        const decision = place(cluster, job, policy, zero);
        assert.equal(decision.kind === 'place' ? decision.node : undefined, best?.node);
        if (!best || decision.kind !== 'place') return;
        assert.equal(best.chosen, true);
        for (const { facts, free, booked, memory, pools, images, heldFor } of cluster.nodes()) {
          if (!judge(cluster, facts.name, job).passes) continue;
          const other = { avoided: job.avoid?.has(facts.name) ?? false, warm: pools.has(job.pool), present: images.has(job.image) };
          const chosen = cluster.node(best.node);
          assert.ok(chosen);
          if (job.id !== undefined && chosen.heldFor === job.id) return; // what was saved for it comes first
          assert.equal(heldFor, undefined);
          const avoided = job.avoid?.has(best.node) ?? false;
          assert.ok(Number(avoided) <= Number(other.avoided));
          if (avoided !== other.avoided) continue;
          assert.ok(Number(decision.warm) >= Number(other.warm));
          if (decision.warm !== other.warm) continue;
          assert.ok(Number(decision.imagePresent) >= Number(other.present));
          if (decision.imagePresent !== other.present) continue;
          const more = job.memory - (other.warm ? job.idleMemory : 0);
          if (policy.pack === 'spread') assert.ok((chosen.booked + more) / chosen.memory <= (booked + more) / memory);
          else assert.ok(chosen.free <= free);
        }
      }),
      { numRuns: 500 },
    );
  });

  it('a large fleet is spread evenly, and packed tightly, though only part of it is looked at', () => {
    for (const policy of [spread, binpack]) {
      const cluster = new Cluster();
      const random = seeded(7);
      for (let index = 0; index < 500; index += 1) addNode(cluster, nodeName(index), {}, index % 3 === 0 ? ['a'] : ['b']);
      for (let run = 0; run < 800; run += 1) {
        const decision = place(cluster, wanted(), policy, random);
        assert.ok(decision.kind === 'place' && decision.imagePresent);
        assert.ok(cluster.reserve(decision.node, wanted().memory));
      }
      const counts = Array.from(cluster.nodes(), ({ booked }) => booked / (512 * MiB));
      const used = counts.filter((count) => count > 0).length;
      // 167 nodes have the image, with room for 8 runs each.
      if (policy.pack === 'spread') assert.deepEqual([used, Math.max(...counts)], [167, 5]);
      else assert.deepEqual([used, counts.filter((count) => count > 0 && count < 8).length], [100, 0]);
    }
  });

  it('a warm sandbox on a node that is nearly full is found among thousands of nodes', () => {
    for (const policy of [spread, binpack]) {
      const cluster = new Cluster();
      for (let index = 0; index < 2_000; index += 1) {
        addNode(cluster, nodeName(index));
        cluster.reserve(nodeName(index), (index === 1_234 ? 4096 - 496 : 4096 - 400) * MiB);
        if (index % 2 === 0) cluster.setIdle(nodeName(index), 'a', 1);
      }
      assert.deepEqual(place(cluster, wanted(), policy, seeded(1)), {
        kind: 'place',
        node: nodeName(1_234),
        warm: true,
        imagePresent: true,
      });
    }
  });

  it('an image is brought only from a ready node of the same architecture', () => {
    const cluster = new Cluster();
    addNode(cluster, 'here', {}, []);
    addNode(cluster, 'other', { architecture: 'arm64' }, ['a']);
    cluster.setCordoned('other', true);
    assert.equal(place(cluster, wanted(), spread, zero).kind, 'wait', 'other may be uncordoned');
    addNode(cluster, 'like', {}, ['a']);
    cluster.setCordoned('like', true);
    assert.deepEqual(place(cluster, wanted(), spread, zero), { kind: 'place', node: 'here', warm: false, imagePresent: false });
    cluster.setHealth('like', 'down');
    assert.equal(place(cluster, wanted(), spread, zero).kind, 'wait');
    cluster.setNode({ ...(cluster.node('like')?.facts ?? assert.fail()), architecture: 'arm64' });
    cluster.removeNode('other');
    assert.equal(place(cluster, wanted({ architecture: 'amd64' }), spread, zero).kind, 'reject');
  });

  it('a node where an attempt was lost is taken when nothing else can', () => {
    const cluster = new Cluster();
    for (const name of ['one', 'two']) addNode(cluster, name);
    cluster.setIdle('one', 'a', 1);
    const job = wanted({ avoid: new Set(['one']) });
    assert.deepEqual(place(cluster, job, spread, zero), { kind: 'place', node: 'two', warm: false, imagePresent: true });
    cluster.setCordoned('two', true);
    assert.deepEqual(place(cluster, job, spread, zero), { kind: 'place', node: 'one', warm: true, imagePresent: true });
    assert.match(JSON.stringify(explain(cluster, job, spread)), /an earlier attempt was lost there/);
  });

  it('places no run that fetches by rsync on a node without a network for rsync', () => {
    const cluster = new Cluster();
    for (const name of ['old', 'new']) addNode(cluster, name);
    cluster.setNode({ ...(cluster.node('old')?.facts ?? assert.fail()), driver: 'ssh', networks: [] });
    const job = wanted({ networks: ['rsync'] });
    assert.deepEqual(place(cluster, job, spread, zero), { kind: 'place', node: 'new', warm: false, imagePresent: true });
    cluster.removeNode('new');
    assert.equal(place(cluster, job, spread, zero).kind, 'reject');
    assert.match(JSON.stringify(explain(cluster, job, spread)), /has no network for rsync, and the run fetches its files by rsync/);
  });

  it('places no run with a network on a node whose driver has no networks for programs', () => {
    const cluster = new Cluster();
    for (const name of ['old', 'new']) addNode(cluster, name);
    cluster.setNode({ ...(cluster.node('old')?.facts ?? assert.fail()), driver: 'ssh', networks: [] });
    const job = wanted({ networks: ['profile'] });
    assert.deepEqual(place(cluster, job, spread, zero), { kind: 'place', node: 'new', warm: false, imagePresent: true });
    cluster.removeNode('new');
    assert.equal(place(cluster, job, spread, zero).kind, 'reject');
    assert.match(JSON.stringify(explain(cluster, job, spread)), /gives programs no network, and the profile does/);
  });

  it('tells for each node what prevents the run, and whether that can change', () => {
    const cluster = new Cluster();
    addNode(cluster, 'small', { memory: 256 * MiB, total: 512 * MiB });
    addNode(cluster, 'full');
    cluster.reserve('full', 4000 * MiB);
    addNode(cluster, 'away', { labels: { zone: 'south' } });
    cluster.setHealth('away', 'down', 'no answer for 6 s');
    const told = explain(cluster, wanted({ constraints: ['zone!=south'] }), spread).map((verdict) =>
      verdict.kind === 'passed_over'
        ? [verdict.node, ...verdict.reasons.map(({ code, permanent, text }) => `${code} ${permanent}: ${text}`)]
        : [],
    );
    assert.deepEqual(told, [
      ['small', 'memory_total true: memory: 512 MiB asked for; it has 256 MiB for sandboxes, of 512 MiB'],
      ['full', 'memory false: memory: 512 MiB wanted, 96 MiB free of 4 GiB'],
      ['away', 'health false: it is down: no answer for 6 s', 'labels true: zone!=south wanted, its label is "south"'],
    ]);
  });
});
