import assert from 'node:assert/strict';
import { Client, KatafleetError } from '../../../src/client/client.ts';
import { api } from '../../support/api.ts';

const hi = { image: 'any', command: ['echo', 'hi'] };
const hasCode = (code: string) => (thrown: unknown) => thrown instanceof KatafleetError && thrown.code === code;

describe('names that a Client is given', () => {
  it('sends a key of every character that a header carries, and finds the run by it again', async () => {
    const server = await api(['a']);
    const client = new Client(await server.listen());
    for (const key of ['k', 'two words', 'é"ÿ\u{a0}', 'x'.repeat(255)]) {
      const [first, again] = [await client.submit(hi, { key }), await client.submit(hi, { key })];
      assert.deepEqual([first.key, again.id], [key, first.id]);
    }
    await server.close();
  });

  it('refuses a key that a header cannot carry as it is, and asks no server', async () => {
    const client = new Client('http://127.0.0.1:1', { fetch: () => assert.fail('a server is asked') });
    for (const key of ['', ' k', 'k ', 'a\nb', 'a\0b', 'a\tb', '€', '\ud800', 'x'.repeat(256)])
      await assert.rejects(client.submit(hi, { key }), hasCode('request.invalid'), JSON.stringify(key));
  });

  it('says of a machine that it is no node', async () => {
    const client = new Client('http://127.0.0.1:1', { fetch: () => assert.fail('a server is asked') });
    await assert.rejects(client.node('swarm/h1'), hasCode('request.invalid'));
  });
});
