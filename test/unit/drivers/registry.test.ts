import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { driverKinds, driverPolicies, endpointForms, isEndpoint } from '../../../src/model/driver-kind.ts';
import { KatafleetError } from '../../../src/model/errors.ts';
import { defaultUids } from '../../../src/model/users.ts';
import { connectEndpoint, diagnoseEndpoint, type DriverEntry, type DriverSurroundings, registry } from '../../../src/drivers/registry.ts';
import { FakeDriver } from '../../support/fake-driver.ts';

const surroundings: DriverSurroundings = { uids: defaultUids, swarmOf: () => assert.fail('nobody chose the swarm') };

describe('the registry of drivers', () => {
  it('has an entry for each kind, under its own name', () => {
    assert.deepEqual(
      Object.entries(registry)
        .map(([key, { kind }]) => [key, kind])
        .sort(),
      driverKinds.map((kind) => [kind, kind]).sort(),
    );
  });

  it('has the kinds and the order that docs/config.md lists', () => {
    const page = readFileSync(new URL('../../../docs/config.md', import.meta.url), 'utf8');
    const row = (key: string) => page.split('\n').find((line) => line.startsWith(`| \`${key}\``)) ?? assert.fail(key);
    const words = row('defaults.driver').split('|').at(-2) ?? '';
    assert.deepEqual(
      Array.from(words.matchAll(/`(\w+)`/g), ([, word]) => word),
      driverPolicies,
    );
    assert.ok(row('nodes[].driver').includes(`(${driverKinds.join(' before ')})`));
  });

  it('makes the driver of a swarm when it is chosen, and once', async () => {
    const swarm = new FakeDriver('fake://swarm');
    let made = 0;
    const driver = connectEndpoint({ endpoint: 'tcp://h:1' }, { ...surroundings, swarmOf: () => (++made, swarm) });
    assert.deepEqual([driver.kind, driver.reach, made], ['engine', undefined, 0]);
    driver.use?.('swarm');
    driver.use?.('engine');
    driver.use?.('swarm');
    assert.equal(made, 1);
    await driver.close();
  });

  it('asks the docker command of an ssh:// endpoint whether an engine answers there', async () => {
    const driver = connectEndpoint({ endpoint: 'ssh://u:secret@h' }, surroundings);
    assert.deepEqual([typeof driver.reach, driver.endpoint], ['function', 'ssh://u:***@h']);
    driver.use?.('ssh');
    assert.deepEqual([driver.kind, driver.removeImage], ['ssh', undefined]);
    await driver.close();
  });

  it('has the ssh driver diagnose ssh:// endpoints, and no driver diagnose others', async () => {
    const expected = { timeoutMs: 1_000, withoutMemoryLimits: false, images: [] };
    for (const endpoint of ['unix:///run/docker.sock', 'tcp://h:1'])
      assert.equal(await diagnoseEndpoint({ endpoint }, expected), undefined);
    const findings = await diagnoseEndpoint({ endpoint: 'ssh://h', ssh: { as: 'no-such-user-of-ours' } }, expected);
    assert.deepEqual(
      findings?.map(({ state }) => state),
      ['bad'],
    );
    assert.match(findings?.[0]?.what ?? '', /^ssh can't be called as no-such-user-of-ours/);
  });

  it('reports a faulty ssh:// endpoint as a finding', async () => {
    const expected = { timeoutMs: 1_000, withoutMemoryLimits: false, images: [] };
    const findings = await diagnoseEndpoint({ endpoint: 'ssh://-oProxyCommand=x' }, expected);
    assert.match(findings?.[0]?.what ?? '', /expected ssh:\/\/user@host/);
  });

  it('refuses a text that is not an endpoint', () => {
    for (const endpoint of ['nonsense', 'ftp://h', 'constructor://h', 'unix://', 'tcp://']) {
      assert.equal(isEndpoint(endpoint), false, endpoint);
      assert.throws(
        () => connectEndpoint({ endpoint }, surroundings),
        (error) => error instanceof KatafleetError && error.code === 'endpoint.invalid' && error.message.includes(endpointForms),
      );
    }
    assert.match(endpointForms, /^unix:\/\/\/path, tcp:\/\/host:port.* or \S+$/);
  });

  it('has the only driver of a scheme serve its endpoints, without probing, and refuses what is no endpoint of that scheme', async () => {
    const local = new FakeDriver('tcp://h:1');
    const entry: DriverEntry = { ...registry.engine, scheme: 'tcp', connect: () => local };
    const connect = (endpoint: string) => connectEndpoint({ endpoint }, surroundings, [entry]);
    assert.equal(connect('tcp://h:1'), local);
    assert.throws(() => connect('tcp:'), { code: 'endpoint.invalid' });
    const other = connect('unix:///s');
    assert.notEqual(other, local);
    await other.close();
  });
});
