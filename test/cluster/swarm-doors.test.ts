import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { eventually } from '../support/eventually.ts';
import { sh, stdout } from '../support/fleet.ts';
import { leftIn, nodes, runningTasks, services, swarmFleet, type SwarmFleetOptions } from '../support/swarm.ts';
import { Testbed } from '../support/testbed.ts';

const profile = { memory: 64 * 1024 ** 2 };
const port = 7421;

describe('who dials a katafleet, and which swarm it is', function () {
  this.timeout(240_000);
  let bed: Testbed;
  let folder: string;
  const troubles: string[] = [];
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'katafleet-doors-'));
    bed = await Testbed.up({ hosts: 2, managers: 1 });
  });
  after(async () => {
    await bed?.down();
    rmSync(folder, { recursive: true });
  });
  afterEach(function () {
    if (this.currentTest?.state === 'failed') console.error(troubles.join('\n'));
    troubles.splice(0);
  });

  const fleetOf = ({ swarm = {}, ...more }: SwarmFleetOptions = {}) =>
    swarmFleet(bed, {
      patient: true,
      onTrouble: (message) => troubles.push(message),
      swarm: { listen: { host: bed.server, port }, ...swarm },
      ...more,
    });
  const says = (pattern: RegExp) =>
    eventually(`${pattern.source} is told`, 60, () => {
      assert.match(troubles.join('\n'), pattern);
      return Promise.resolve();
    });
  const secrets = async () => (await leftIn(bed)).filter((name) => name.startsWith('secret '));

  it('strangers of every kind keep no task out while pools fill, and cost nobody his run', async () => {
    await using fleet = fleetOf();
    await fleet.open();
    const strangers: Socket[] = [];
    const call = (says?: Buffer) => {
      const socket = connect({ host: bed.server, port, localAddress: bed.server });
      socket.on('error', () => undefined); // it is turned away sooner or later
      if (says) socket.on('connect', () => socket.write(says));
      strangers.push(socket.resume());
    };
    // The port is open from the first sandbox on.
    await fleet.warm('build-essential', 1, profile);
    for (let at = 0; at < 1_100; at += 1) call();
    for (let at = 0; at < 100; at += 1) call(Buffer.from('GET / HTTP/1.1\r\nHost: katafleet\r\n\r\n'));
    for (let at = 0; at < 100; at += 1) call(Buffer.of(0x41, 0, 0, 0, 40, 1)); // half an answer
    await fleet.warm('build-essential', 6, profile);
    const results = await Promise.all(Array.from({ length: 12 }, (_, at) => sh(fleet, `echo ${at}`, { profile })));
    for (const [at, result] of results.entries()) assert.deepEqual([stdout(result), result.attempt], [`${at}\n`, 1]);
    await says(/no task of katafleet's, from /);
    await eventually('every stranger has been turned away', 60, () => {
      assert.equal(strangers.filter((socket) => !socket.destroyed).length, 0);
      return Promise.resolve();
    });
  });

  it('the tasks of a former deployment are refused and told of, and are left alone', async () => {
    const swarm = { listen: { host: bed.server, port }, key: join(folder, 'former.key') };
    const former = fleetOf({ swarm, journal: { identity: 'the-former-one', epoch: 1 } });
    await former.warm('build-essential', 2, profile);
    const [service] = await services(bed);
    const kept = await leftIn(bed);
    await former.close();
    {
      await using fleet = fleetOf({ swarm: { listen: { host: bed.server, port }, key: join(folder, 'new.key') } });
      const results = await Promise.all(Array.from({ length: 4 }, () => sh(fleet, 'echo served', { profile })));
      for (const result of results) assert.equal(stdout(result), 'served\n');
      await says(new RegExp(`a task from .* of "${service?.name}" on .* was refused: there is no such service`));
      const now = await leftIn(bed);
      assert.ok(
        kept.every((name) => now.includes(name)),
        now.join(),
      );
    }
    // Its own key finds them again, and their tasks serve.
    const tasks = await runningTasks(bed);
    await using again = fleetOf({ swarm, journal: { identity: 'the-former-one', epoch: 2 } });
    await again.open();
    const served = stdout(await sh(again, 'hostname', { profile })).trim();
    assert.ok(tasks.has(served), `${served} of ${[...tasks].join()}`);
  });

  it('secrets are renewed while runs go on, and the former ones go', async () => {
    const rotateMs = 4_000;
    await using fleet = fleetOf({ swarm: { listen: { host: bed.server, port }, key: join(folder, 'rotated.key'), rotateMs } });
    const others = await secrets();
    const seen = new Set<string>();
    while (seen.size < 3) {
      const result = await sh(fleet, 'sleep 0.2; echo served', { profile });
      assert.deepEqual([stdout(result), result.attempt], ['served\n', 1]);
      for (const name of await secrets()) if (!others.includes(name)) seen.add(name);
      assert.ok(seen.size > 0);
      await sleep(500);
    }
    await eventually('one secret for each service', 60, async () => assert.equal((await secrets()).length, (await services(bed)).length));
  });

  it('two katafleets with one key share a service: a task belongs to the one that it reached, and all are served', async () => {
    const [one, other] = [port, port + 1].map((own) =>
      fleetOf({
        swarm: {
          listen: { host: bed.server, port: own },
          advertise: `${bed.server}:${port},${bed.server}:${port + 1}`,
          key: join(folder, 'shared.key'),
        },
      }),
    );
    assert.ok(one && other);
    try {
      const rounds = Array.from({ length: 4 }, async () => {
        const runs = Array.from({ length: 12 }, (_, at) => sh(at % 2 === 0 ? one : other, 'sleep 0.3; hostname', { profile }));
        return (await Promise.all(runs)).map((result) => stdout(result).trim());
      });
      const tasks = (await Promise.all(rounds)).flat();
      assert.equal(new Set(tasks).size, 48, 'each run had a task of its own');
      const shared = await bed.docker('h1', 'service', 'ls', '--quiet', '--filter', 'label=katafleet.role=pool');
      const labels = await bed.docker(
        'h1',
        'service',
        'inspect',
        '--format',
        '{{range $k, $v := .Spec.Labels}}{{$k}} {{end}}',
        ...shared.split(/\s+/).filter(Boolean),
      );
      const wants = labels.split('\n').map((line) => line.match(/katafleet\.want\./g)?.length ?? 0);
      assert.ok(wants.includes(2), labels);
    } finally {
      await one.close();
      await other.close();
    }
  });

  it('a manager whose driver the configuration names is used as an engine, and no swarm is asked', async () => {
    const before = await leftIn(bed);
    await using fleet = fleetOf({ node: { driver: 'engine' } });
    const { outcome } = await sh(fleet, 'true', { profile });
    assert.deepEqual([outcome, fleet.fleet.nodes()[0]?.driver], [{ kind: 'exited', code: 0 }, 'engine']);
    assert.deepEqual(await leftIn(bed), before);
  });

  it('a swarm that is locked: its engine serves, and says why; unlocked it serves as a swarm again', async () => {
    const key = (await bed.docker('h1', 'swarm', 'update', '--autolock')).match(/SWMKEY-\S+/)?.[0];
    assert.ok(key !== undefined);
    await bed.do('kill-engine', 'h1');
    await bed.do('start-engine', 'h1');
    {
      await using fleet = fleetOf();
      const { outcome } = await sh(fleet, 'true', { profile });
      const [node] = fleet.fleet.nodes();
      assert.deepEqual([outcome, node?.driver], [{ kind: 'exited', code: 0 }, 'engine']);
      assert.match(node?.why ?? '', /not swarm: its swarm is locked: docker swarm unlock/);
    }
    bed.on('h1', ['docker', 'swarm', 'unlock'], `${key}\n`);
    await eventually('it is unlocked', 60, async () => assert.equal((await nodes(bed))['h1'], 'Ready Active'));
    await using fleet = fleetOf();
    assert.deepEqual((await sh(fleet, 'true', { profile })).outcome, { kind: 'exited', code: 0 });
    assert.equal(fleet.fleet.nodes()[0]?.driver, 'swarm');
  });
});
