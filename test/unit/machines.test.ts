import assert from 'node:assert/strict';
import { KatafleetError } from '../../src/model/errors.ts';
import { unplaced } from '../../src/model/placing.ts';
import { profileOf, sandboxLimits } from '../../src/model/profile.ts';
import { evictions } from '../../src/fleet/pools/evictions.ts';
import { capacityOf } from '../../src/drivers/machines.ts';
import { machineOf } from '../../src/fleet/node/machines.ts';
import { CachedCall } from '../../src/fleet/node/cached-call.ts';
import { fakeMachine } from '../support/fake-driver.ts';
import { fakeFleet, MiB } from '../support/fake-fleet.ts';
import { until } from '../support/until.ts';

const GiB = 1024 * MiB;
const limits = sandboxLimits(profileOf({ memory: 512 * MiB }));
const wanted = { image: 'any:latest', pool: 'p', memory: 512 * MiB, cpus: 1, idleMemory: 16 * MiB, constraints: [] };
const refuses = (code: string, about: RegExp) => (error: unknown) =>
  error instanceof KatafleetError && error.code === code && about.test(error.message);

/** A swarm of two machines of 4 GiB and one of 8, looked at once. */
async function swarm(options: Parameters<typeof fakeFleet>[1] = {}) {
  const fakes = fakeFleet(['swarm'], options);
  const [h1, h2, big] = [
    fakeMachine('h1', { role: 'manager', leader: true }),
    fakeMachine('h2'),
    fakeMachine('big', { memory: 8 * GiB, cpus: 4 }),
  ];
  const driver = fakes.driver('swarm');
  driver.asSwarm(h1, h2, big);
  await fakes.look('swarm');
  const facts = () => fakes.fleet.cluster.node('swarm')?.facts ?? assert.fail();
  return { ...fakes, driver, h1, h2, big, facts };
}

describe('machines behind a node', () => {
  it('are shown with it by name, as they were at its last look; a node that is one machine has none', async () => {
    const { fleet, look, summary, big, driver } = await swarm();
    assert.deepEqual([summary('swarm').driver, summary('swarm').members?.map(({ name }) => name)], ['swarm', ['big', 'h1', 'h2']]);
    big.availability = 'pause';
    driver.standing.push(fakeMachine('h3'));
    await look('swarm');
    assert.deepEqual(
      summary('swarm').members?.map(({ name, availability }) => [name, availability]),
      [
        ['big', 'pause'],
        ['h1', 'active'],
        ['h2', 'active'],
        ['h3', 'active'],
      ],
    );
    await fleet.close();
    const plain = fakeFleet(['a']);
    await plain.look('a');
    assert.ok(!('members' in plain.summary('a')));
    await plain.fleet.close();
  });

  it('are asked for once by all who look within a second', async () => {
    const { fleet, driver } = await swarm();
    const before = driver.asked;
    await Promise.all([fleet.freshNodes(), fleet.freshNodes()]);
    assert.equal(driver.asked, before, 'the look was just now');
    await fleet.close();
  });

  it('are a trouble, reported once, if the swarm does not answer; the node still serves with the last known ones', async () => {
    const { fleet, driver, look, summary, troubles } = await swarm();
    const { machines: members } = driver;
    driver.machines = () => Promise.reject(new KatafleetError('engine.failed', 'the swarm has no leader'));
    await look('swarm', 3);
    assert.deepEqual(troubles, ['swarm: its machines could not be looked at: the swarm has no leader']);
    assert.deepEqual([summary('swarm').state, summary('swarm').members?.length], ['ready', 3]);
    driver.machines = () => new Promise(() => undefined);
    await look('swarm');
    assert.match(troubles[1] ?? '', /takes the call and does not answer within 50 ms/);
    driver.machines = members;
    await look('swarm');
    driver.faults = { unreachable: true };
    assert.equal(await look('swarm', 3), 'down');
    assert.equal(summary('swarm').members, undefined, 'of a node that is down nobody knows');
    await fleet.close();
  });

  it('are what the node has: when they come and go it is probed anew, without a change of its health or of what is booked', async () => {
    const { fleet, driver, look, summary, facts, big, events } = await swarm({ settings: { swarm: { reserve: { share: 0.25 } } } });
    assert.deepEqual(summary('swarm').memory, { total: 16 * GiB, bookable: 12 * GiB, booked: 0, free: 12 * GiB });
    assert.deepEqual([facts().cpus, facts().largest], [8, { memory: 6 * GiB, cpus: 4 }]);
    assert.ok(fleet.cluster.reserve('swarm', 7 * GiB));
    let room = 0;
    fleet.onRoom(() => (room += 1));
    const { probes } = driver;
    big.state = 'down';
    await look('swarm');
    assert.deepEqual(summary('swarm').memory, { total: 8 * GiB, bookable: 6 * GiB, booked: 7 * GiB, free: -1 * GiB });
    assert.deepEqual(
      [facts().largest, facts().largestOfAll],
      [
        { memory: 3 * GiB, cpus: 2 },
        { memory: 6 * GiB, cpus: 4 },
      ],
    );
    assert.ok(room > 0, 'those who wait are told');
    await look('swarm', 2);
    assert.equal(driver.probes, probes + 1, 'once for each change');
    big.state = 'ready';
    driver.standing.push(fakeMachine('h3'));
    await look('swarm');
    assert.equal(summary('swarm').memory.total, 20 * GiB);
    assert.deepEqual(events, ['swarm ready: was probing']);
    fleet.cluster.release('swarm', 7 * GiB);
    await fleet.close();
  });

  it('a probe that fails then is a trouble, and is tried again', async () => {
    const { fleet, driver, look, summary, big, troubles } = await swarm();
    big.state = 'down';
    driver.probe = () => Promise.reject(new KatafleetError('engine.failed', 'not now'));
    await look('swarm');
    assert.deepEqual([summary('swarm').state, summary('swarm').memory.total], ['ready', 16 * GiB]);
    assert.deepEqual(troubles, ['swarm: its machines could not be looked at: not now']);
    delete (driver as Partial<typeof driver>).probe;
    await look('swarm');
    assert.equal(summary('swarm').memory.total, 8 * GiB);
    await fleet.close();
  });

  it('the largest one limits a run: for good if no absent one is larger, else until one is back', async () => {
    const { fleet, look, big } = await swarm();
    const reasons = (memory: number, cpus = 1) => {
      const [verdict] = fleet.explain({ ...wanted, memory, cpus });
      return verdict?.kind === 'passed_over' ? verdict.reasons.map(({ code, permanent, text }) => [code, permanent, text]) : [];
    };
    assert.deepEqual(reasons(8 * GiB), []);
    assert.deepEqual(reasons(9 * GiB), [['memory_total', true, 'memory: 9 GiB asked for; its largest machine has 8 GiB for sandboxes']]);
    assert.deepEqual(reasons(GiB, 5), [['cpus', true, 'cpus: 5 asked for; its largest machine has 4']]);
    big.availability = 'drain';
    await look('swarm');
    assert.deepEqual(reasons(5 * GiB), [['memory_total', false, 'memory: 5 GiB asked for; its largest machine has 4 GiB for sandboxes']]);
    assert.equal(reasons(9 * GiB)[0]?.[1], true);
    await fleet.close();
  });

  it('until all of them are known, no run is too large for ever', async () => {
    const { fleet, driver } = fakeFleetOfSwarm();
    driver.machines = () => new Promise(() => undefined);
    driver.probe = () =>
      Promise.resolve({ ...driver.fingerprint, swarm: 'manager', memory: 8 * GiB, largest: { memory: 4 * GiB, cpus: 2 } });
    await fleet.node('swarm').check();
    const [verdict] = fleet.explain({ ...wanted, memory: 64 * GiB });
    assert.ok(verdict?.kind === 'passed_over' && verdict.reasons.every(({ permanent }) => !permanent));
    await fleet.close();
  });

  it('are never a node that rsync reaches', async () => {
    const { fleet } = await swarm();
    const [verdict] = fleet.explain({ ...wanted, networks: ['rsync'] });
    assert.ok(verdict?.kind === 'passed_over');
    assert.match(
      verdict.reasons[0]?.text ?? '',
      /^it is served by the driver swarm, which has no network for rsync, and the run fetches its files by rsync$/,
    );
    await fleet.close();
  });

  it('count once: their sandboxes are among the node’s own', async () => {
    const { fleet, h2, look, summary } = await swarm();
    h2.sandboxes = { idle: 5, busy: 3 };
    await look('swarm');
    assert.deepEqual(
      [summary('swarm').sandboxes, summary('swarm').members?.[2]?.sandboxes],
      [
        { idle: 0, busy: 0 },
        { idle: 5, busy: 3 },
      ],
    );
    await fleet.close();
  });
});

function fakeFleetOfSwarm(settings: { starts?: number } = {}) {
  const fakes = fakeFleet(['swarm'], { settings: { swarm: settings } });
  const driver = fakes.driver('swarm');
  driver.asSwarm(fakeMachine('h1'));
  return { ...fakes, driver };
}

describe('cordon, drain and uncordon of one machine', () => {
  it('go through its swarm, which remembers them; an event is written down', async () => {
    const { fleet, summary, events, h2 } = await swarm();
    const availability = () => summary('swarm').members?.map((machine) => machine.availability);
    await fleet.cordonMachine('swarm/h2', 'cordon');
    assert.deepEqual([h2.availability, availability()], ['pause', ['active', 'active', 'pause']], 'shown at once');
    await fleet.cordonMachine('swarm/id-h2', 'drain');
    assert.equal(h2.availability, 'drain');
    assert.equal(summary('swarm').memory.total, 12 * GiB, 'what it had is not there to be booked');
    await fleet.cordonMachine('swarm/h2', 'uncordon');
    assert.equal(h2.availability, 'active');
    assert.deepEqual(events.slice(1), ['swarm cordon: the machine h2', 'swarm drain: the machine h2', 'swarm uncordon: the machine h2']);
    assert.equal(summary('swarm').cordoned, 'no');
    await fleet.close();
  });

  it('replaces its idle sandboxes elsewhere, even if another program drains it', async () => {
    const { fleet, driver, look, summary, h1, h2 } = await swarm();
    fleet.want({ image: 'any:latest', limits, idle: { min: 2, max: 2 } });
    await Promise.all((await fleet.retarget()).map((pool) => pool.filled()));
    assert.deepEqual([...driver.containers.keys()], ['c1', 'c2']);
    h1.availability = 'pause';
    await look('swarm');
    await until(() => summary('swarm').sandboxes.idle === 2 && !driver.containers.has('c1') && !driver.containers.has('c2'));
    await look('swarm');
    assert.deepEqual([...driver.containers.keys()], ['c3', 'c4'], `they wait on ${h2.name} now, and stay`);
    await fleet.close();
    assert.equal(fleet.cluster.node('swarm')?.booked, 0);
  });

  it('fails for an unknown machine, or for a node without machines, and lists the known ones', async () => {
    const { fleet, driver } = await swarm();
    await assert.rejects(
      fleet.cordonMachine('swarm/h9', 'drain'),
      refuses('node.unknown', /^no machine "h9" behind swarm; there are: big \(id-big\), h1 \(id-h1\), h2 \(id-h2\)$/),
    );
    await assert.rejects(fleet.cordonMachine('swarm/', 'drain'), refuses('node.unknown', /no machine ""/));
    await assert.rejects(fleet.cordonMachine('other/h1', 'drain'), refuses('node.unknown', /no node "other"; there are: swarm/));
    driver.faults = { unreachable: true };
    await assert.rejects(fleet.cordonMachine('swarm/h1', 'drain'), refuses('engine.unreachable', /told not to answer/));
    await fleet.close();
    const plain = fakeFleet(['a']);
    await assert.rejects(plain.fleet.cordonMachine('a/b', 'drain'), refuses('node.unknown', /^a has no machines behind it/));
    await plain.fleet.close();
  });

  it('a machine is meant by its name, its id, or what only its id begins with', () => {
    const machines = [
      { id: 'abc1', name: 'twin' },
      { id: 'abd2', name: 'twin' },
      { id: 'xyz3', name: 'abc1x' },
    ];
    const of = (wanted: string) => machineOf(machines, 'swarm', wanted).id;
    assert.deepEqual([of('abc1x'), of('abd'), of('abc1')], ['xyz3', 'abd2', 'abc1']);
    for (const several of ['twin', 'ab'])
      assert.throws(() => of(several), refuses('node.unknown', /several machines of swarm are meant .*twin \(abc1\), twin \(abd2\)/));
    assert.throws(() => machineOf([], 'swarm', 'h'), refuses('node.unknown', /no machine "h"/));
  });

  it('an empty list of machines has no capacity', () => {
    assert.deepEqual(capacityOf([]), { memory: 0, cpus: 0, largest: { memory: 0, cpus: 0 } });
  });
});

describe('why a node starts no sandboxes', () => {
  it('is in the verdicts, of nodes that are ready; that it could not be asked is told too', async () => {
    const { fleet, driver, look } = await swarm();
    const troubles = async () => (await fleet.verdicts(wanted, limits))[0]?.troubles;
    assert.equal(await troubles(), undefined);
    const asked: unknown[] = [];
    driver.troubles = (...of) => {
      asked.push(of);
      return Promise.resolve(['no suitable node (insufficient resources on 3 nodes)']);
    };
    assert.deepEqual(await troubles(), ['no suitable node (insufficient resources on 3 nodes)']);
    assert.deepEqual(asked, [['any:latest', limits]]);
    driver.troubles = () => Promise.resolve([]);
    assert.equal(await troubles(), undefined);
    driver.troubles = () => Promise.reject(new KatafleetError('engine.failed', 'no leader'));
    assert.deepEqual(await troubles(), ["it could not be asked why sandboxes don't come: no leader"]);
    driver.troubles = () => new Promise(() => undefined);
    assert.match((await troubles())?.[0] ?? '', /does not answer within 1000 ms/);
    driver.faults = { unreachable: true };
    await look('swarm');
    assert.equal(await troubles(), undefined, 'of a node that is suspect its health is told');
    await fleet.close();
  });
});

describe('the number of starts at once on a node', () => {
  for (const [what, settings, most] of [
    ['is the driver’s number', {}, 3],
    ['is the configuration’s number, if there is one', { starts: 2 }, 2],
  ] as const) {
    it(what, async () => {
      const { fleet, driver } = fakeFleetOfSwarm(settings);
      driver.starts = 3;
      let waiting = 0;
      driver.faults = { stall: () => (waiting += 1) > 0 };
      await fleet.open();
      fleet.want({ image: 'any:latest', limits, idle: { min: 5, max: 5 } });
      await fleet.retarget();
      await until(() => waiting === most);
      await fleet.close();
      assert.deepEqual([waiting, fleet.cluster.node('swarm')?.booked], [most, 0]);
    });
  }
});

describe('constraints of a run over the machines behind a node', () => {
  const labelled = async (labels: Record<string, string> = {}) => {
    const fakes = await swarm({ settings: { swarm: { labels } } });
    Object.assign(fakes.h2, { labels: { zone: 'b', disk: 'ssd' } });
    Object.assign(fakes.big, { labels: { zone: 'c' } });
    await fakes.look('swarm');
    const against = (...constraints: string[]) =>
      fakes.fleet
        .explain({ ...wanted, constraints })
        .flatMap((verdict) => ('reasons' in verdict ? verdict.reasons.filter(({ code }) => code === 'labels') : []))
        .map(({ text, permanent }) => [text, permanent]);
    return { ...fakes, against, node: fakes.fleet.node('swarm') };
  };

  it('hold when one machine has all of it; else the words tell why not', async () => {
    const { fleet, against } = await labelled();
    assert.deepEqual(against('zone==b'), []);
    assert.deepEqual(against('zone==b', 'disk==ssd', 'zone!=c'), []);
    assert.deepEqual(against('node.hostname==big', 'node.role==worker'), []);
    assert.deepEqual(against('zone==d'), [['zone==d wanted, which holds for none of its machines in use', true]]);
    assert.deepEqual(against('zone==c', 'disk==ssd'), [
      ['zone==c, disk==ssd wanted, and they hold together for none of its machines in use', true],
    ]);
    await fleet.close();
  });

  it('wait for a machine that is not in use now, and are refused if a swarm can’t check them', async () => {
    const { fleet, against, big, look } = await labelled({ site: 'a,b' });
    big.availability = 'drain';
    await look('swarm');
    assert.deepEqual(against('zone==c'), [['zone==c wanted, which holds for none of its machines in use', false]]);
    assert.deepEqual(against('zone!='), [["zone!= wanted, which a swarm can't check", true]]);
    assert.deepEqual(against('site==a,b'), [], 'the node itself answers');
    await fleet.close();
  });

  it('follow changed labels, and do not reject a run for good while the machines are unknown', async () => {
    const { fleet, against, h1, look } = await labelled();
    Object.assign(h1, { labels: { zone: 'd' } });
    await look('swarm');
    assert.deepEqual(against('zone==d'), []);
    const fresh = fakeFleet(['swarm']);
    fresh.driver('swarm').asSwarm(h1);
    fresh.driver('swarm').machines = () => Promise.reject(new KatafleetError('engine.failed', 'not now'));
    await fresh.look('swarm');
    const [verdict] = fresh.fleet.explain({ ...wanted, constraints: ['zone==d'] });
    assert.ok(verdict && 'reasons' in verdict);
    assert.deepEqual(
      verdict.reasons.filter(({ code }) => code === 'labels').map(({ permanent }) => permanent),
      [false],
    );
    await fresh.fleet.close();
    await fleet.close();
  });

  it('are part of what its sandboxes are, but for those that the node itself or every machine meets', async () => {
    const { fleet, node } = await labelled({ site: 'x' });
    const machines = (...constraints: string[]) => node.limitsFor(limits, constraints).machines;
    assert.deepEqual(machines('zone==b', 'disk!=hdd', 'site==x', 'node.role!=nothing'), ['zone==b']);
    assert.deepEqual(machines('zone==b', 'disk==ssd'), ['disk==ssd', 'zone==b']);
    assert.deepEqual(machines('zone==b', 'zone==b'), ['zone==b'], 'said twice it is no other pool');
    assert.equal(node.limitsFor(limits, ['site==x', 'made!=up']), limits);
    await fleet.close();
  });

  it('get sandboxes of their own: what waits for others is not taken', async () => {
    const { fleet, driver } = await labelled();
    fleet.want({ image: 'any:latest', limits, idle: { min: 1, max: 1 } });
    await Promise.all((await fleet.retarget()).map((pool) => pool.filled()));
    const specs: unknown[] = [];
    const create = driver.create.bind(driver);
    driver.create = (spec, signal) => {
      specs.push(spec.limits.machines);
      return create(spec, signal);
    };
    const plain = await fleet.lease('swarm', 'any:latest', limits, 0);
    assert.deepEqual([plain.warm, specs], [true, []]);
    assert.ok(fleet.cluster.reserve('swarm', limits.memory));
    const bound = await fleet.lease('swarm', 'any:latest', limits, limits.memory, undefined, { ...unplaced, constraints: ['zone==b'] });
    assert.equal(bound.warm, false);
    assert.ok(specs.some((machines) => JSON.stringify(machines) === '["zone==b"]'));
    await plain.release();
    await bound.release();
    await fleet.close();
  });
});

describe('a lease on a node that is full', () => {
  it('says so, and when to come back; what was booked for it is free at once, without a look for what may be left', async () => {
    const { fleet, driver } = await swarm();
    driver.faults = { room: 0 };
    let looks = 0;
    driver.list = () => {
      looks += 1;
      return Promise.resolve([]);
    };
    assert.ok(fleet.cluster.reserve('swarm', limits.memory));
    await assert.rejects(
      fleet.lease('swarm', 'any:latest', limits, limits.memory),
      (error) => refuses('node.full', /insufficient resources/)(error) && (error as KatafleetError).retryAfterMs === 500,
    );
    assert.deepEqual([fleet.cluster.node('swarm')?.booked, looks], [0, 0]);
    await fleet.close();
  });
});

describe('eviction', () => {
  const idle = (...of: [machine: string, memory: number][]) => of.map(([machine, memory]) => ({ machine, memory }));
  const chosen = (of: ReturnType<typeof idle>, memory: number) =>
    evictions(of, memory).map(({ machine, memory: its }) => `${machine}${its}`);

  it('chooses the fewest sandboxes on one machine, the largest first', () => {
    assert.deepEqual(chosen(idle(['a', 1], ['a', 2], ['b', 4], ['b', 1], ['a', 3]), 4), ['b4']);
    assert.deepEqual(chosen(idle(['a', 1], ['a', 2], ['b', 1], ['b', 1]), 3), ['a2', 'a1']);
  });

  it('chooses the largest of all if no single machine has enough, and none of none', () => {
    assert.deepEqual(chosen(idle(['a', 1], ['b', 3], ['c', 2]), 5), ['b3', 'c2']);
    assert.deepEqual(chosen(idle(['a', 1], ['b', 1]), 9), ['a1', 'b1']);
    assert.deepEqual(chosen([], 1), []);
  });
});

describe('an answer for all callers', () => {
  it('is asked for once at a time, kept for as long as it may be old, and anew on demand', async () => {
    let asked = 0;
    const answers: ((value: number) => void)[] = [];
    const recent = new CachedCall(() => new Promise<number>((resolve) => answers.push(resolve) && (asked += 1)));
    const both = [recent.get(0), recent.get(1_000)];
    answers[0]?.(1);
    assert.deepEqual([await Promise.all(both), asked, recent.value], [[1, 1], 1, 1]);
    assert.equal(await recent.get(60_000), 1);
    const old = recent.get(0);
    const anew = recent.get('anew');
    answers[2]?.(3);
    assert.equal(await anew, 3);
    answers[1]?.(2);
    assert.deepEqual([await old, recent.value], [2, 3], 'an older question answers nobody else');
    const gone = recent.get(0);
    recent.forget();
    answers[3]?.(4);
    assert.deepEqual([await gone, recent.value], [4, undefined]);
  });
});
