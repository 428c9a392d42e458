import assert from 'node:assert/strict';
import { Client } from '../../src/client/client.ts';
import { api } from '../support/api.ts';

describe('the list of runs over HTTP', () => {
  it('is read page by page to its end, each run once, with runs that come meanwhile left out', async () => {
    const { ask, listen, close, app } = await api(['a']);
    const client = new Client(await listen());
    const submitted: string[] = [];
    for (let number = 0; number < 23; number += 1)
      submitted.push((await client.submit({ image: 'any', command: ['echo', String(number)] })).id);
    const read: string[] = [];
    let before: number | undefined;
    do {
      const { runs, next } = await client.view('/v1/runs', { limit: 10, ...(before === undefined ? {} : { before }) });
      read.push(...runs.map(({ id }) => id));
      await client.submit({ image: 'any', command: ['later'] });
      before = next;
    } while (before !== undefined);
    assert.deepEqual(read, submitted.toReversed());
    assert.equal((await ask('GET', '/v1/runs?before=x')).status, 400);
    app.server.closeAllConnections();
    await close();
  });

  it('has the runs that match every filter', async () => {
    const { listen, close, app } = await api(['a']);
    const client = new Client(await listen());
    const submit = (tenant: string, key: string) => client.submit({ image: 'any', command: ['x'], tenant }, { key });
    const [first, second] = [await submit('t', 'one'), await submit('t', 'two')];
    const third = await submit('u', 'one');
    for (const { id } of [first, second, third]) await client.wait(id);
    const ids = async (of: Parameters<Client['list']>[0]) => (await client.list(of)).map(({ id }) => id);
    assert.deepEqual(await ids({ tenant: 't' }), [second.id, first.id]);
    assert.deepEqual(await ids({ key: 'one' }), [third.id, first.id]);
    assert.deepEqual(await ids({ key: 'one', tenant: 'u', state: 'finished', image: 'any' }), [third.id]);
    assert.deepEqual(await ids({ image: 'other' }), []);
    assert.deepEqual(await ids({ tenant: '', limit: 1 }), [third.id]);
    assert.deepEqual(await ids({ until: first.acceptedAt }), []);
    assert.equal((await ids({ since: first.acceptedAt })).length, 3);
    app.server.closeAllConnections();
    await close();
  });
});
