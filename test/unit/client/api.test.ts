import assert from 'node:assert/strict';
import { Client, KatafleetError } from '../../../src/client/client.ts';
import { api } from '../../support/api.ts';
import { fakeMachine } from '../../support/fake-driver.ts';
import { MiB } from '../../support/fake-fleet.ts';
import { until } from '../../support/until.ts';

const one = { settings: { a: { reserve: { bytes: 7680 * MiB } } } }; // room for one run at a time
const hi = { image: 'any', command: ['echo', 'hi'] };
const hasCode = (code: string) => (thrown: unknown) => thrown instanceof KatafleetError && thrown.code === code;

/** The API over nodes in memory, served over HTTP, and a client of it. */
async function served(...given: Parameters<typeof api>) {
  const server = await api(...given);
  return { ...server, client: new Client(await server.listen()) };
}

describe('Client against the API', () => {
  it('runs a command and returns what it printed', async () => {
    const { client, close } = await served(['a']);
    const { outcome, steps, node } = await client.run({ ...hi, files: [{ path: 'a.txt', content: 'text' }], tenant: 'class' });
    assert.deepEqual([outcome, steps[0]?.stdout.toString(), node], [{ kind: 'exited', code: 0 }, 'echo hi', 'a']);
    assert.deepEqual(
      (await client.list({ tenant: 'class' })).map(({ state, image }) => ({ state, image })),
      [{ state: 'finished', image: 'any' }],
    );
    assert.deepEqual(await client.list({ state: 'failed' }), []);
    await close();
  });

  it('submits a run, shows its position, explains it, cancels it', async () => {
    const { client, driver, close } = await served(['a'], one);
    const first = await client.submit({ ...hi, command: ['hold'] });
    await until(() => driver('a').holding === 1);
    const second = await client.submit({ ...hi, profile: { memory: 512 * MiB } });
    assert.deepEqual([second.state, second.position], ['waiting', 1]);
    const [verdict] = (await client.explain(second.id)).nodes ?? [];
    assert.equal(verdict?.kind, 'passed_over');
    assert.equal((await client.wait(first.id, { ms: 1 })).state, 'running');
    assert.equal((await client.cancel(second.id)).state, 'cancelled');
    const ended = client.wait(first.id);
    driver('a').letGo();
    assert.equal((await ended).result?.outcome.kind, 'exited');
    assert.equal((await client.get(first.id)).state, 'finished');
    await close();
  });

  it('cancels what runs when the signal aborts, and returns the outcome', async () => {
    const { client, driver, close } = await served(['a']);
    const cancel = new AbortController();
    const run = client.run({ ...hi, command: ['hold'] }, { signal: cancel.signal });
    await until(() => driver('a').holding === 1);
    cancel.abort();
    assert.deepEqual((await run).outcome, { kind: 'cancelled' });
    await close();
  });

  it('makes one run of two calls with one key', async () => {
    const { client, close } = await served(['a']);
    const [first, again] = [await client.submit(hi, { key: 'k' }), await client.submit(hi, { key: 'k' })];
    assert.equal(first.id, again.id);
    await assert.rejects(client.submit({ ...hi, priority: 9 }, { key: 'k' }), hasCode('request.conflict'));
    await close();
  });

  it('shows nodes, their images and events, and cordons', async () => {
    const { client, driver, close } = await served(['a', 'b']);
    driver('a').asSwarm(fakeMachine('h1'));
    assert.deepEqual(
      (await client.nodes()).map(({ name, state, cordoned }) => ({ name, state, cordoned })),
      ['a', 'b'].map((name) => ({ name, state: 'ready', cordoned: 'no' })),
    );
    assert.deepEqual(
      (await client.node('a')).members?.map(({ name }) => name),
      ['h1'],
    );
    assert.deepEqual((await client.images())[0]?.ready, ['a', 'b']);
    assert.equal((await client.decide('cordon', 'b')).cordoned, 'cordoned');
    assert.deepEqual((await client.images())[0]?.waiting, ['b']);
    await assert.rejects(client.decide('drain', 'c'), hasCode('node.unknown'));
    const verdicts = await client.verdicts(hi);
    assert.deepEqual(
      verdicts.map(({ node, kind }) => ({ node, kind })),
      [
        { node: 'a', kind: 'passes' },
        { node: 'b', kind: 'passed_over' },
      ],
    );
    assert.ok(Array.isArray(await client.events({ limit: 5 })));
    await close();
  });

  it('shows maintenance jobs and runs one', async () => {
    const job = { name: 'reap', what: 'removes', schedule: undefined, run: (dryRun: boolean) => Promise.resolve(`dry ${dryRun}`) };
    const { client, close } = await served(['a'], { jobs: [job] });
    assert.deepEqual(
      (await client.maintenance()).map(({ name }) => name),
      ['reap'],
    );
    assert.equal(await client.maintain('reap', { dryRun: true }), 'dry true');
    await assert.rejects(client.maintain('sweep'), hasCode('request.unknown'));
    await close();
  });

  it('throws the codes of the API', async () => {
    const { client, close } = await served(['a']);
    await assert.rejects(client.get('0b9f5c1e-8c1d-4d8e-9a5e-2f6a3c0f7d11'), hasCode('run.unknown'));
    await assert.rejects(client.get('../nodes'), hasCode('request.invalid'));
    await assert.rejects(client.run({ ...hi, priority: 10 }), hasCode('request.invalid'));
    await close();
  });
});
