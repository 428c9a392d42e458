import assert from 'node:assert/strict';
import { chooseDriver } from '../../src/drivers/choose.ts';
import type { Reached } from '../../src/drivers/contract.ts';
import type { DriverKind, DriverPolicy } from '../../src/model/driver-kind.ts';

const api = (apiVersion: string, swarm: 'inactive' | 'locked' | 'worker' | 'manager' = 'inactive'): Reached => ({
  api: 'usable',
  fingerprint: { apiVersion, swarm },
});
const old: Reached = { api: 'too_old', engineVersion: '1.6.2' };
const none: Reached = { api: 'none', why: 'no engine answers' };
const [unix, tcp, ssh] = ['unix:///var/run/docker.sock', 'tcp://h:2376', 'ssh://u@h'];

describe('the choice of driver explains itself', () => {
  const cases: [endpoint: string, found: Reached, policy: DriverPolicy, driver: DriverKind | undefined, why: string, not: string[]][] = [
    [unix, api('1.41', 'manager'), 'auto', 'swarm', 'manager, API 1.41', []],
    [tcp, api('1.51', 'manager'), 'auto', 'swarm', 'manager, API 1.51', []],
    [unix, api('2.0', 'manager'), 'auto', 'swarm', 'manager, API 2.0', []],
    [unix, api('1.40', 'manager'), 'auto', 'engine', 'API 1.40', ['swarm: manager, but API 1.40 is below 1.41']],
    [unix, api('1.9', 'manager'), 'auto', 'engine', 'API 1.9', ['swarm: manager, but API 1.9 is below 1.41']],
    [tcp, api('1.41', 'worker'), 'auto', 'engine', 'API 1.41', ['swarm: a worker; only managers take services']],
    [tcp, api('1.41', 'locked'), 'auto', 'engine', 'API 1.41', ['swarm: its swarm is locked: docker swarm unlock']],
    [
      tcp,
      api('1.41', 'locked'),
      'swarm',
      undefined,
      'the configuration wants swarm: its swarm is locked: docker swarm unlock',
      ['swarm: its swarm is locked: docker swarm unlock'],
    ],
    [tcp, api('1.41'), 'auto', 'engine', 'API 1.41', ['swarm: in no swarm']],
    [ssh, api('1.41'), 'auto', 'engine', 'API 1.41', ['swarm: in no swarm']],
    [
      ssh,
      old,
      'auto',
      'ssh',
      'engine 1.6.2 has no usable API',
      ['swarm: engine 1.6.2 has no usable API', 'engine: engine 1.6.2 has no usable API'],
    ],
    [ssh, none, 'auto', 'ssh', 'no engine answers', ['swarm: no engine answers', 'engine: no engine answers']],
    [
      unix,
      old,
      'auto',
      undefined,
      'swarm: engine 1.6.2 has no usable API; engine: engine 1.6.2 has no usable API; ssh: the endpoint is not ssh://',
      ['swarm: engine 1.6.2 has no usable API', 'engine: engine 1.6.2 has no usable API', 'ssh: the endpoint is not ssh://'],
    ],
    [
      tcp,
      none,
      'auto',
      undefined,
      'swarm: no engine answers; engine: no engine answers; ssh: the endpoint is not ssh://',
      ['swarm: no engine answers', 'engine: no engine answers', 'ssh: the endpoint is not ssh://'],
    ],
    [unix, api('1.41', 'manager'), 'engine', 'engine', 'API 1.41', []],
    [ssh, api('1.41', 'manager'), 'ssh', 'ssh', "the host's own docker command", []],
    [unix, api('1.41'), 'swarm', undefined, 'the configuration wants swarm: in no swarm', ['swarm: in no swarm']],
    [tcp, api('1.41'), 'ssh', undefined, 'the configuration wants ssh: the endpoint is not ssh://', ['ssh: the endpoint is not ssh://']],
    [ssh, none, 'engine', undefined, 'the configuration wants engine: no engine answers', ['engine: no engine answers']],
  ];
  for (const [endpoint, found, policy, driver, why, not] of cases) {
    const what = found.api === 'usable' ? `API ${found.fingerprint.apiVersion}, ${found.fingerprint.swarm}` : found.api.replace('_', ' ');
    it(`${endpoint.split(':')[0]}, ${what}, policy ${policy}: ${driver ?? 'none'}`, () => {
      const choice = chooseDriver(endpoint, found, policy);
      assert.deepEqual([choice.driver, choice.why, choice.passedOver.map((one) => `${one.driver}: ${one.why}`)], [driver, why, not]);
    });
  }
});
