import assert from 'node:assert/strict';
import type { NodeSettings } from '../../../src/fleet/node/settings.ts';
import { changesInWords, nodeChanges } from '../../../src/fleet/changes.ts';
import { KatafleetError } from '../../../src/model/errors.ts';
import { profileOf, sandboxLimits } from '../../../src/model/profile.ts';
import { dispatching, jobOf } from '../../support/dispatching.ts';
import { fakeFingerprint } from '../../support/fake-driver.ts';
import { fakeFleet, MiB } from '../../support/fake-fleet.ts';
import { until } from '../../support/until.ts';

const settings = (name: string, more: Partial<NodeSettings> = {}): NodeSettings => ({
  name,
  endpoint: `fake://${name}`,
  labels: {},
  driver: 'auto',
  reserve: { share: 0 },
  withoutMemoryLimits: false,
  cordoned: false,
  ...more,
});
const names = ({ all }: { all: readonly { settings: NodeSettings }[] }) => all.map(({ settings: { name } }) => name);

describe('the changes between two configurations of nodes', () => {
  it('are told by name: what is new, gone, changed while it serves, or connected anew', () => {
    const now = [settings('a'), settings('b'), settings('c'), settings('d')];
    const wanted = [settings('e'), settings('d', { labels: { zone: 'x' } }), settings('c', { endpoint: 'fake://other' }), settings('b')];
    assert.deepEqual(changesInWords(nodeChanges(now, wanted)), [
      'e: added',
      'd: other labels',
      'c: other endpoint; it is connected anew when its runs have ended',
      'a: leaves; its runs go on to their end',
    ]);
    assert.deepEqual(nodeChanges(now, [...now].reverse()), []);
  });
});

describe('a fleet whose configuration changes', () => {
  it('uses a new node at once', async () => {
    const { fleet, dispatcher, driver, close, addDriver } = await dispatching(['a']);
    addDriver('b');
    fleet.reconfigure([settings('b'), settings('a')]);
    await until(() => fleet.node('b').state === 'ready');
    assert.deepEqual(names(fleet), ['b', 'a'], 'in the order of the configuration');
    fleet.cordon('a');
    assert.equal((await dispatcher.submit(jobOf())).node, 'b');
    assert.equal(driver('b').created, 1);
    await close();
  });

  it('lets a run end on a node that leaves, which takes no others', async () => {
    const { fleet, dispatcher, driver, close } = await dispatching(['a', 'b']);
    const { cluster } = fleet;
    fleet.cordon('b');
    const held = dispatcher.submit(jobOf(['hold']));
    await until(() => driver('a').holding === 1);
    fleet.uncordon('b');
    fleet.reconfigure([settings('b')]);
    assert.equal((await dispatcher.submit(jobOf())).node, 'b');
    assert.deepEqual([fleet.has('a'), fleet.nodes()[0]?.cordoned], [true, 'draining']);
    assert.throws(
      () => fleet.uncordon('a'),
      (error) => error instanceof KatafleetError && /a is leaving/.test(error.message),
    );
    driver('a').letGo();
    assert.equal((await held).outcome.kind, 'exited');
    await until(() => !fleet.has('a'));
    assert.deepEqual([names(fleet), cluster.node('a'), cluster.size], [['b'], undefined, 1]);
    assert.equal(driver('a').containers.size, 0);
    await close();
  });

  it('moves the idle sandboxes of a node that leaves to the others', async () => {
    const { fleet, driver, close } = await dispatching(['a', 'b']);
    const limits = sandboxLimits(profileOf({ memory: 512 * MiB }));
    fleet.want({ image: 'any:latest', limits, idle: { min: 4, max: 4 } });
    await Promise.all((await fleet.retarget()).map((pool) => pool.filled()));
    assert.deepEqual([driver('a').containers.size, driver('b').containers.size], [2, 2]);
    fleet.reconfigure([settings('b')]);
    await until(() => !fleet.has('a') && driver('b').containers.size === 4);
    assert.equal(driver('a').containers.size, 0);
    fleet.wantOnly([]);
    await until(() => driver('b').containers.size === 0);
    await close();
  });

  it('changes labels and what is kept free while the node serves', async () => {
    const { fleet, dispatcher, driver, close } = await dispatching(['a']);
    const held = dispatcher.submit(jobOf(['hold']));
    await until(() => driver('a').holding === 1);
    const before = fleet.node('a');
    fleet.reconfigure([settings('a', { labels: { zone: 'x' }, reserve: { share: 0.5 }, cordoned: true })]);
    assert.equal(fleet.node('a'), before);
    const { labels, cordoned, memory } = fleet.nodes()[0] ?? assert.fail();
    assert.deepEqual([labels, cordoned, memory.bookable], [{ zone: 'x' }, 'cordoned', 4096 * MiB]);
    fleet.reconfigure([settings('a', { labels: { zone: 'x' } })]);
    assert.equal(fleet.nodes()[0]?.cordoned, 'no');
    assert.equal((await dispatcher.submit(jobOf(['echo'], { constraints: ['zone==x'] }))).node, 'a');
    driver('a').letGo();
    await held;
    await close();
  });

  it('connects a node anew that is reached otherwise, after its runs', async () => {
    const { fleet, dispatcher, driver, close, addDriver } = await dispatching(['a']);
    const held = dispatcher.submit(jobOf(['hold']));
    const old = driver('a');
    await until(() => old.holding === 1);
    const renewed = addDriver('a');
    fleet.reconfigure([settings('a', { endpoint: 'fake://elsewhere' })]);
    const waiting = dispatcher.submit(jobOf());
    assert.equal(renewed.probes, 0);
    old.letGo();
    await held;
    assert.equal((await waiting).node, 'a');
    assert.deepEqual([renewed.created, names(fleet), fleet.node('a').settings.endpoint], [1, ['a'], 'fake://elsewhere']);
    await close();
  });

  it('takes the last word about a node: one that leaves comes back anew', async () => {
    const { fleet, dispatcher, driver, close, addDriver } = await dispatching(['a', 'b']);
    fleet.cordon('b');
    const held = dispatcher.submit(jobOf(['hold']));
    const old = driver('a');
    await until(() => old.holding === 1);
    fleet.reconfigure([settings('b')]);
    fleet.reconfigure([settings('b'), settings('a', { labels: { zone: 'x' } })]);
    addDriver('a');
    old.letGo();
    await held;
    await until(() => fleet.has('a') && fleet.node('a').state === 'ready' && fleet.node('a').settings.labels['zone'] === 'x');
    await close();
  });
});

describe('a decision to cordon a node', () => {
  /** A fleet whose node `a` was cordoned when this machine was there, as the journal says. */
  async function cordonedOf(machine: string | undefined, found: string) {
    const decisions: unknown[] = [];
    const fakes = fakeFleet(['a'], { onDecision: (node, decision) => decisions.push([node, decision && { ...decision }]) });
    fakes.driver('a').fingerprint = { ...fakeFingerprint, engineId: found };
    fakes.fleet.cordon('a', true, machine);
    await fakes.look('a');
    return { ...fakes, decisions };
  }

  it('holds for the same machine after a restart', async () => {
    const { fleet, decisions, summary } = await cordonedOf('one', 'one');
    assert.deepEqual([summary('a').cordoned, decisions], ['drained', []]);
    await fleet.close();
  });

  it('does not hold for another machine of that name', async () => {
    const { fleet, decisions, summary, troubles } = await cordonedOf('one', 'other');
    assert.deepEqual([summary('a').cordoned, decisions], ['no', [['a', undefined]]]);
    assert.match(troubles.join(), /a: it is another machine than the one that was cordoned, so it is used/);
    await fleet.close();
  });

  it('that was made before the machine was known is about the first one that answers', async () => {
    const { fleet, decisions, summary } = await cordonedOf(undefined, 'one');
    assert.deepEqual([summary('a').cordoned, decisions], ['drained', [['a', { drain: true, machine: 'one' }]]]);
    await fleet.close();
  });

  it('stays while its node is connected anew, and goes with a node that leaves', async () => {
    const { fleet, summary, addDriver } = await cordonedOf('one', 'one');
    addDriver('a').fingerprint = { ...fakeFingerprint, engineId: 'one' };
    fleet.reconfigure([settings('a', { tls: '/other' })]);
    await until(() => fleet.node('a').settings.tls === '/other' && fleet.node('a').state === 'ready');
    assert.equal(summary('a').cordoned, 'drained');
    fleet.reconfigure([]);
    await until(() => !fleet.has('a'));
    addDriver('a');
    fleet.reconfigure([settings('a')]);
    await until(() => fleet.node('a').state === 'ready');
    assert.equal(summary('a').cordoned, 'no');
    await fleet.close();
  });
});
