import assert from 'node:assert/strict';
import { Client } from '../../../src/client/client.ts';
import { unplaced } from '../../../src/model/placing.ts';

/** A client whose server never lets a call wait, and how often it was asked. */
function impatient(): { client: Client; calls: () => number } {
  let calls = 0;
  const running = { id: 'r', tenant: 'default', image: 'i', state: 'running', placing: unplaced, acceptedAt: 1, attempts: [] };
  const fetch = () => {
    calls += 1;
    return Promise.resolve(Response.json(running));
  };
  return { client: new Client('http://127.0.0.1:1', { fetch }), calls: () => calls };
}

describe('Client.wait on a server that answers at once', () => {
  it('does not ask again and again without a pause', async () => {
    const { client, calls } = impatient();
    assert.equal((await client.wait('r', { ms: 600 })).state, 'running');
    assert.ok(calls() <= 4, `${calls()} calls`);
  });

  it('stops in the pause when its signal aborts, with the reason of the signal', async () => {
    const { client, calls } = impatient();
    const stop = new AbortController();
    const waiting = client.wait('r', { signal: stop.signal });
    while (calls() === 0) await new Promise(setImmediate);
    stop.abort(new Error('enough'));
    await assert.rejects(waiting, /^Error: enough$/);
  });
});
