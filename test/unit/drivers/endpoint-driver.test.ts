import assert from 'node:assert/strict';
import type { Driver } from '../../../src/drivers/contract.ts';
import { EndpointDriver } from '../../../src/drivers/endpoint-driver.ts';
import { EngineDriver } from '../../../src/drivers/engine/driver.ts';
import { FakeDriver } from '../../support/fake-driver.ts';

/** All but those that the endpoint answers itself. */
type Passed = Exclude<keyof Driver, 'endpoint' | 'reach' | 'use' | 'forget' | 'disconnect' | 'close' | 'probe'>;

/** All of them: a new member of the contract does not compile here before it is tested. */
const passed: Record<Passed, 'call' | 'call without words' | 'value'> = {
  kind: 'value',
  prepare: 'call',
  create: 'call',
  list: 'call without words',
  listsFast: 'value',
  createdAt: 'call',
  remove: 'call',
  images: 'call without words',
  ping: 'call',
  identify: 'call',
  watchImages: 'call',
  exportImage: 'call',
  archiveBytes: 'call',
  importImage: 'call',
  removeImage: 'call',
  machines: 'call',
  setAvailability: 'call',
  troubles: 'call',
  starts: 'value',
  independent: 'value',
};

describe('an endpoint that several drivers serve', () => {
  for (const [member, how] of Object.entries(passed)) {
    it(`passes ${member} on to the driver that was chosen`, async () => {
      const chosen = new FakeDriver('fake://chosen');
      const answer = {};
      const calls: unknown[][] = [];
      const value = function (this: unknown, ...words: unknown[]) {
        calls.push([this, ...words]);
        return Promise.resolve(answer);
      };
      Object.defineProperty(chosen, member, { value: how === 'value' ? answer : value });
      const endpoint = new EndpointDriver({ engine: new EngineDriver({ endpoint: 'tcp://h:1' }), connect: () => chosen });
      endpoint.use('swarm');
      const got = (endpoint as unknown as Record<string, unknown>)[member];
      if (how === 'value') assert.equal(got, answer);
      else {
        assert.equal(await (got as (...words: unknown[]) => unknown).call(endpoint, 1, 2), answer);
        const [call = []] = calls;
        assert.ok(call[0] === chosen && (how !== 'call' || call[1] === 1), 'bound to the driver, with what it was given');
      }
    });
  }

  it('forgets, breaks off and closes all that were made, the youngest first', async () => {
    const done: string[] = [];
    const noted = <T extends Driver>(name: string, driver: T): T => {
      for (const what of ['forget', 'disconnect', 'close'] as const)
        Object.defineProperty(driver, what, { value: () => void done.push(`${what} ${name}`) });
      return driver;
    };
    const engine = noted('engine', new EngineDriver({ endpoint: 'tcp://h:1' }));
    const endpoint = new EndpointDriver({ engine, connect: () => noted('swarm', new FakeDriver('fake://swarm')) });
    endpoint.use('swarm');
    endpoint.forget();
    endpoint.disconnect();
    await endpoint.close();
    assert.deepEqual(done, ['forget engine', 'forget swarm', 'disconnect engine', 'disconnect swarm', 'close swarm', 'close engine']);
  });
});
