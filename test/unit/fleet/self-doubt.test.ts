import assert from 'node:assert/strict';
import { KatafleetError } from '../../../src/model/errors.ts';
import { profileOf, sandboxLimits } from '../../../src/model/profile.ts';
import { SelfDoubt } from '../../../src/fleet/node/self-doubt.ts';
import { fakeFleet } from '../../support/fake-fleet.ts';

const names = ['a', 'b', 'c', 'd', 'e'];

/** A doubt about nodes that were ready, and what it told. */
function doubting(ready: readonly string[] = names) {
  const told: string[] = [];
  const doubt = new SelfDoubt({ windowMs: 4_000, tell: (message) => told.push(message) });
  for (const name of ready) doubt.heard(name);
  return { doubt, told };
}

describe('katafleet’s doubt of itself', () => {
  it('begins when half of the nodes fall silent at once, and tells so once', () => {
    const { doubt, told } = doubting();
    assert.deepEqual(
      [doubt.silent('a', 0), doubt.silent('b', 100), doubt.silent('c', 200), doubt.silent('d', 300)],
      [false, false, true, true],
    );
    assert.equal(told.length, 1);
    assert.match(told[0] ?? '', /^3 of 5 nodes do not answer, all at once: katafleet suspects itself/);
  });

  it('does not begin for two nodes, for fewer than half, or for nodes that fall silent one after another', () => {
    const two = doubting(['a', 'b']).doubt;
    assert.deepEqual([two.silent('a', 0), two.silent('b', 0)], [false, false]);
    const few = doubting([...names, 'f', 'g']).doubt;
    assert.deepEqual(
      ['a', 'b', 'c'].map((name) => few.silent(name, 0)),
      [false, false, false],
    );
    const slow = doubting().doubt;
    assert.deepEqual(
      names.map((name, at) => slow.silent(name, at * 3_000)),
      names.map(() => false),
    );
  });

  it('ends after 30 s, and does not begin again for the same silence', () => {
    const { doubt, told } = doubting();
    for (const name of ['a', 'b', 'c', 'd']) doubt.silent(name, 0);
    assert.equal(doubt.silent('a', 29_999), true);
    assert.deepEqual([doubt.silent('a', 30_000), doubt.silent('b', 30_001), doubt.silent('c', 33_000)], [false, false, false]);
    assert.match(told.at(-1) ?? '', /those that still are count as down/);
  });

  it('ends when most nodes answer again', () => {
    const { doubt, told } = doubting();
    for (const name of ['a', 'b', 'c', 'd']) doubt.silent(name, 0);
    for (const name of ['b', 'c', 'd']) doubt.heard(name);
    assert.equal(doubt.silent('a', 2_000), false);
    assert.match(told.at(-1) ?? '', /most of them answer again/);
  });
});

describe('nodes that fail together', () => {
  const unreachable = (message: string) => ({ probeError: new KatafleetError('engine.unreachable', message) });

  it('stay suspect with their runs when half of the fleet falls silent at once', async () => {
    const { fleet, driver, look, troubles } = fakeFleet(names);
    await fleet.open();
    for (const name of names) driver(name).faults = unreachable('connect EHOSTUNREACH');
    for (let time = 0; time < 6; time += 1) for (const name of names) await look(name);
    assert.deepEqual(
      fleet.nodes().map(({ state }) => state),
      names.map(() => 'suspect'),
    );
    assert.ok(troubles.some((line) => /katafleet suspects itself/.test(line)));
    for (const name of names) driver(name).faults = {};
    for (const name of names) assert.equal(await look(name), 'ready');
    await fleet.close();
  });

  it('go down all the same where the machine itself refuses the connection, or where a running sandbox broke off', async () => {
    const { fleet, driver, look } = fakeFleet(names);
    await fleet.open();
    const granted = fleet.cluster.reserve('b', 512 * 1024 ** 2);
    assert.ok(granted);

    await fleet.lease('b', 'any:latest', sandboxLimits(profileOf({ memory: 512 * 1024 ** 2 })), 512 * 1024 ** 2);
    for (const name of names) driver(name).faults = unreachable(name === 'a' ? 'connect ECONNREFUSED 10.0.0.1:2376' : 'connect ETIMEDOUT');
    driver('b').breakStreams();
    await new Promise((resolve) => setImmediate(resolve));
    for (let time = 0; time < 4; time += 1) for (const name of names.toReversed()) await look(name);
    assert.deepEqual(
      fleet.nodes().map(({ state }) => state),
      ['down', 'down', 'suspect', 'suspect', 'suspect'],
    );
    await fleet.close();
  });
});
