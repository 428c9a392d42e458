import assert from 'node:assert/strict';
import type { Fingerprint } from '../../../src/drivers/contract.ts';
import { boundsMemory, nodeFacts } from '../../../src/fleet/node/facts.ts';
import type { NodeSettings } from '../../../src/fleet/node/settings.ts';

const GiB = 1024 ** 3;
const settings: NodeSettings = {
  name: 'a',
  endpoint: 'unix:///run/docker.sock',
  labels: { zone: 'x' },
  driver: 'auto',
  reserve: { share: 0.25 },
  withoutMemoryLimits: false,
  cordoned: false,
};
const aFingerprint = (fields: Partial<Fingerprint> = {}): Fingerprint => ({
  node: 'a',
  engineVersion: '28.0.0',
  apiVersion: '1.48',
  architecture: 'amd64',
  cpus: 8,
  memory: 16 * GiB,
  kernel: '6.1',
  cgroupVersion: '2',
  enforces: { memory: true, swap: true, pids: true, cpu: true },
  seccomp: true,
  swarm: 'inactive',
  storage: 'overlay2',
  runtimes: ['runc'],
  clockSkewMs: 0,
  ...fields,
});
const facts = (fields: Partial<Fingerprint>, found: Partial<Parameters<typeof nodeFacts>[1]> = {}) =>
  nodeFacts(settings, { fingerprint: aFingerprint(fields), driver: 'engine', severalMachines: false, canObtain: true, ...found });

describe('what the scheduler learns of a node', () => {
  it('leaves the reserve free, of the whole and of the largest machine', () => {
    const { memory, total, largest } = facts({ largest: { memory: 8 * GiB, cpus: 4 } });
    assert.deepEqual({ memory, total, largest }, { memory: 12 * GiB, total: 16 * GiB, largest: { memory: 6 * GiB, cpus: 4 } });
  });

  it('takes no run for too large before all machines are known', () => {
    const largest = { memory: 8 * GiB, cpus: 4 };
    const before = facts({ largest }, { driver: 'swarm', severalMachines: true });
    assert.deepEqual(before.largestOfAll, { memory: Infinity, cpus: Infinity });
    const after = facts({ largest }, { driver: 'swarm', severalMachines: true, machines: [], largestOfAll: { memory: 4 * GiB, cpus: 16 } });
    assert.deepEqual(after.largestOfAll, { memory: 6 * GiB, cpus: 16 });
  });

  it('says that memory is not bounded over ssh where swap is not limited', () => {
    const fingerprint = aFingerprint({ enforces: { memory: true, swap: false, pids: true, cpu: true } });
    assert.deepEqual([boundsMemory(fingerprint, 'engine'), boundsMemory(fingerprint, 'ssh')], [true, false]);
    assert.equal(facts(fingerprint, { driver: 'ssh' }).memoryLimits, 'missing');
  });
});
