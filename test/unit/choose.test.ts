import assert from 'node:assert/strict';
import { chooseDriver, type DriverPolicy, type Reached } from '../../src/drivers/choose.ts';
import type { DriverKind } from '../../src/drivers/contract.ts';

const api = (apiVersion: string, swarm: 'inactive' | 'locked' | 'worker' | 'manager' = 'inactive'): Reached => ({
  api: 'usable',
  fingerprint: { apiVersion, swarm },
});
const old: Reached = { api: 'too_old', engineVersion: '1.6.2' };
const none: Reached = { api: 'none', why: 'no engine answers' };
const all: DriverKind[] = ['swarm', 'engine', 'ssh'];
const [unix, tcp, ssh] = ['unix:///var/run/docker.sock', 'tcp://h:2376', 'ssh://u@h'];

describe('the choice of driver explains itself', () => {
  const cases: [
    endpoint: string,
    found: Reached,
    policy: DriverPolicy,
    built: DriverKind[],
    driver: DriverKind | undefined,
    why: string,
    not: string[],
  ][] = [
    [unix, api('1.41', 'manager'), 'auto', all, 'swarm', 'manager, API 1.41', []],
    [tcp, api('1.51', 'manager'), 'auto', all, 'swarm', 'manager, API 1.51', []],
    [unix, api('2.0', 'manager'), 'auto', all, 'swarm', 'manager, API 2.0', []],
    [unix, api('1.40', 'manager'), 'auto', all, 'engine', 'API 1.40', ['swarm: manager, but API 1.40 is below 1.41']],
    [unix, api('1.9', 'manager'), 'auto', all, 'engine', 'API 1.9', ['swarm: manager, but API 1.9 is below 1.41']],
    [tcp, api('1.41', 'worker'), 'auto', all, 'engine', 'API 1.41', ['swarm: a worker; only managers take services']],
    [tcp, api('1.41', 'locked'), 'auto', all, 'engine', 'API 1.41', ['swarm: its swarm is locked: docker swarm unlock']],
    [
      tcp,
      api('1.41', 'locked'),
      'swarm',
      all,
      undefined,
      'the configuration wants swarm: its swarm is locked: docker swarm unlock',
      ['swarm: its swarm is locked: docker swarm unlock'],
    ],
    [tcp, api('1.41'), 'auto', all, 'engine', 'API 1.41', ['swarm: in no swarm']],
    [ssh, api('1.41'), 'auto', all, 'engine', 'API 1.41', ['swarm: in no swarm']],
    [
      unix,
      api('1.41', 'manager'),
      'auto',
      ['engine'],
      'engine',
      'API 1.41',
      ['swarm: manager, API 1.41, but this katafleet has no swarm driver'],
    ],
    [
      ssh,
      old,
      'auto',
      all,
      'ssh',
      'engine 1.6.2 has no usable API',
      ['swarm: engine 1.6.2 has no usable API', 'engine: engine 1.6.2 has no usable API'],
    ],
    [ssh, none, 'auto', all, 'ssh', 'no engine answers', ['swarm: no engine answers', 'engine: no engine answers']],
    [
      unix,
      old,
      'auto',
      all,
      undefined,
      'swarm: engine 1.6.2 has no usable API; engine: engine 1.6.2 has no usable API; ssh: the endpoint is not ssh://',
      ['swarm: engine 1.6.2 has no usable API', 'engine: engine 1.6.2 has no usable API', 'ssh: the endpoint is not ssh://'],
    ],
    [
      tcp,
      none,
      'auto',
      ['engine'],
      undefined,
      'swarm: no engine answers; engine: no engine answers; ssh: the endpoint is not ssh://',
      ['swarm: no engine answers', 'engine: no engine answers', 'ssh: the endpoint is not ssh://'],
    ],
    [
      ssh,
      old,
      'auto',
      ['engine'],
      undefined,
      'swarm: engine 1.6.2 has no usable API; engine: engine 1.6.2 has no usable API; ssh: engine 1.6.2 has no usable API, but this katafleet has no ssh driver',
      [
        'swarm: engine 1.6.2 has no usable API',
        'engine: engine 1.6.2 has no usable API',
        'ssh: engine 1.6.2 has no usable API, but this katafleet has no ssh driver',
      ],
    ],
    [unix, api('1.41', 'manager'), 'engine', all, 'engine', 'API 1.41', []],
    [ssh, api('1.41', 'manager'), 'ssh', all, 'ssh', "the host's own docker command", []],
    [unix, api('1.41'), 'swarm', all, undefined, 'the configuration wants swarm: in no swarm', ['swarm: in no swarm']],
    [
      tcp,
      api('1.41'),
      'ssh',
      all,
      undefined,
      'the configuration wants ssh: the endpoint is not ssh://',
      ['ssh: the endpoint is not ssh://'],
    ],
    [
      unix,
      api('1.41', 'manager'),
      'swarm',
      ['engine'],
      undefined,
      'the configuration wants swarm: manager, API 1.41, but this katafleet has no swarm driver',
      ['swarm: manager, API 1.41, but this katafleet has no swarm driver'],
    ],
    [ssh, none, 'engine', all, undefined, 'the configuration wants engine: no engine answers', ['engine: no engine answers']],
  ];
  for (const [endpoint, found, policy, built, driver, why, not] of cases) {
    const what = found.api === 'usable' ? `API ${found.fingerprint.apiVersion}, ${found.fingerprint.swarm}` : found.api.replace('_', ' ');
    it(`${endpoint.split(':')[0]}, ${what}, policy ${policy}, built ${built.join()}: ${driver ?? 'none'}`, () => {
      const choice = chooseDriver(endpoint, found, policy, built);
      assert.deepEqual([choice.driver, choice.why, choice.passedOver.map((one) => `${one.driver}: ${one.why}`)], [driver, why, not]);
    });
  }
});
