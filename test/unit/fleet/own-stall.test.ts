import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EngineDriver } from '../../../src/drivers/engine/driver.ts';
import { LagClock } from '../../../src/base/lag-clock.ts';
import { LookTurns } from '../../../src/fleet/node/look-turns.ts';
import { fakeFleet } from '../../support/fake-fleet.ts';

/** Keeps the event loop from turning, ms. */
function stall(ms: number): void {
  const begun = performance.now();
  while (performance.now() - begun < ms);
}

/** An engine in a process of its own, which answers while this process stalls. It reports each ping. */
const engine = `
import http from 'node:http';
http.createServer((request, response) => {
  const path = request.url.replace(/^\\/v1\\.\\d+/, '').replace(/\\?.*/, '');
  const says = (body) => response.setHeader('content-type', 'application/json').end(JSON.stringify(body));
  if (path === '/_ping') {
    process.send('ping');
    return void response.end('OK');
  }
  if (path === '/version') return says({ Version: '20.10', ApiVersion: '1.41', MinAPIVersion: '1.12' });
  if (path === '/info') return says({ Name: 'other', Architecture: 'x86_64', MemoryLimit: true, SwapLimit: true, NCPU: 2, MemTotal: 8e9 });
  if (path !== '/events') says([]);
}).listen(process.argv[2], () => process.send('listens'));
process.on('disconnect', () => process.exit());
`;

describe('stalls of katafleet itself', () => {
  it('make no node suspect whose answer came in time', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'katafleet-stall-'));
    const program = join(folder, 'engine.mjs');
    await writeFile(program, engine);
    const child = fork(program, [join(folder, 'sock')], { execArgv: [] });
    await once(child, 'message');
    const names = ['a', 'b', 'c'];
    const { fleet, look, events } = fakeFleet(names, {
      connect: () => new EngineDriver({ endpoint: `unix://${folder}/sock` }),
      rules: { failures: 3, successes: 1, flapMs: 60_000, intervalMs: 1e8, timeoutMs: 1_000 },
    });
    await fleet.open();
    for (const name of names) await look(name); // each now has a connection that stays open
    let pings = 0;
    const asked = new Promise<void>((resolve) =>
      child.on('message', () => {
        pings += 1;
        if (pings === names.length) resolve();
      }),
    );
    const looks = names.map((name) => fleet.node(name).check());
    await asked;
    stall(1_200);
    await Promise.all(looks);
    assert.deepEqual(
      events.filter((event) => /suspect|down/.test(event)),
      [],
    );
    await fleet.close();
    child.disconnect();
    await rm(folder, { recursive: true });
  });

  it('make a look without an answer say nothing: the node is asked again', async () => {
    const { fleet, driver, look, events } = fakeFleet(['a']);
    await fleet.open();
    driver('a').faults = { hang: true };
    const looked = look('a');
    setImmediate(() => {
      stall(200);
      driver('a').faults = {};
    });
    assert.equal(await looked, 'ready');
    assert.deepEqual(events, ['a ready: was probing']);
    await fleet.close();
  });

  it('do not hide a silent node on a machine that is always busy', async () => {
    const { fleet, driver, look } = fakeFleet(['a']);
    await fleet.open();
    driver('a').faults = { hang: true };
    let busy = setTimeout(function again() {
      stall(75);
      busy = setTimeout(again, 25);
    });
    try {
      assert.equal(await look('a'), 'suspect');
    } finally {
      clearTimeout(busy);
    }
    await fleet.close();
  });
});

describe('the lag clock', () => {
  it('adds up stalls, also one that has just ended, and takes a tick that is a little late for none', () => {
    let now = 0;
    const clock = new LagClock(() => now);
    clock.start();
    now = 65;
    clock.tick();
    assert.equal(clock.stalledMs, 0);
    now += 450;
    assert.equal(clock.stalledMs, 400);
    clock.tick();
    now += 50;
    clock.tick();
    assert.equal(clock.stalledMs, 400);
    clock.stop();
  });
});

describe('the turns of looks', () => {
  it('begin one look in each turn of the event loop, however many are due', async () => {
    const turns = new LookTurns();
    const begun: number[] = [];
    let turn = 0;
    const count = () => {
      turn += 1;
      if (begun.length < 20) setImmediate(count);
    };
    setImmediate(count);
    for (let look = 0; look < 20; look += 1) turns.add(() => begun.push(turn));
    while (begun.length < 20) await new Promise((resolve) => setImmediate(resolve));
    assert.equal(new Set(begun).size, 20);
  });
});
