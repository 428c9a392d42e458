import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { goldenJson } from '../support/golden.ts';

/** A value that is written in words, and what it means. */
class InWords {
  readonly words: string;
  readonly means: unknown;

  constructor(words: string, means: unknown) {
    this.words = words;
    this.means = means;
  }
}
const as = (words: string, means: unknown) => new InWords(words, means);

const [KiB, MiB, GiB] = [1024, 1024 ** 2, 1024 ** 3];
const [second, minute, hour, day] = [1_000, 60_000, 3_600_000, 86_400_000];
const ssh = {
  config: '/etc/katafleet/ssh_config',
  identity: 'keys/id_ed25519',
  knownHosts: 'known_hosts',
  jump: 'gate@bastion:2222',
  as: 'katafleet',
  keepalive: as('15s', 15 * second),
};

/** A configuration with every key. */
const everything = {
  nodes: [
    { name: 'local', endpoint: 'unix:///var/run/docker.sock', memory: { reserve: as('2g', { bytes: 2 * GiB }) } },
    {
      name: 'swarm.1',
      endpoint: 'tcp://10.0.0.1:2376',
      tls: { ca: 'ca.pem', cert: 'cert.pem', key: 'key.pem' },
      managers: ['tcp://10.0.0.2:2376'],
      labels: { 'zone/a': 'eu', empty: '' },
      driver: 'swarm',
      memory: { reserve: as('12.5%', { share: 0.125 }) },
      withoutMemoryLimits: true,
      starts: 7,
      cordoned: true,
    },
    { name: 'engine', endpoint: 'tcp://10.0.0.3:2376', tls: 'keys', driver: 'engine' },
    { name: 'legacy', endpoint: 'ssh://test-runner@old', ssh, driver: 'ssh' },
  ],
  defaults: { reserve: as('20%', { share: 0.2 }), driver: 'auto', idleMemory: as('32m', 32 * MiB), withoutMemoryLimits: true },
  profiles: {
    default: {},
    'big-1': {
      memory: as('1g', GiB),
      cpus: 2.5,
      pids: 200,
      wallMs: as('20s', 20 * second),
      cpuMs: as('1m', minute),
      stdout: as('64k', 64 * KiB),
      stderr: 0,
      fileSize: as('64g', 64 * GiB),
      filesBack: 5,
      fileBack: as('1m', MiB),
      bytesBack: as('2m', 2 * MiB),
      openFiles: 64,
      stack: as('64k', 64 * KiB),
      shm: as('16m', 16 * MiB),
      dial: 'overlay',
      network: 'kata-net',
    },
  },
  pools: [
    { image: 'gcc-assert', idle: { max: 1 } },
    { image: 'registry.example:5000/kata/gcc:1', profile: 'big-1', idle: { min: 2, max: 9 } },
  ],
  sandboxes: { uids: as('50000-50099', { first: 50_000, count: 100 }) },
  images: { copy: false, keep: ['gcc-assert'], pruneAfter: as('30d', 30 * day) },
  queue: { runs: 100, bytes: as('64m', 64 * MiB), perTenant: 50, wait: as('90s', 90 * second) },
  health: { interval: as('500ms', 500), timeout: as('1s', second), start: as('45s', 45 * second), failures: 5, successes: 1 },
  retries: { attempts: 5 },
  sessions: { most: 10, perTenant: 5, idle: as('5m', 5 * minute), age: as('2h', 2 * hour), memory: as('25%', 0.25) },
  placement: { policy: 'binpack' },
  journal: { file: 'journal.db', keepResults: as('1d', day), keepBytes: as('1g', GiB), keepEvents: as('2d', 2 * day), durability: 'power' },
  katas: { folder: '/srv/katas' },
  schedules: {
    inventory: '*/7 * * * *',
    reap: '30 * * * * *',
    retention: as('off', undefined),
    prune: '1 2 * * 3',
    pools: '* * * * *',
    jitter: as('3s', 3 * second),
  },
  reaping: { grace: as('2m', 2 * minute) },
  rsync: {
    daemon: 'own',
    program: '/usr/bin/rsync',
    accept: ['3.2.7-1+deb12u2'],
    folder: '/run/katafleet-rsync',
    listen: '172.17.0.1:8730',
    advertise: '172.17.0.1:8731',
    hostsAllow: ['172.17.0.0/16'],
    roots: ['/srv/katas'],
    network: 'kata-rsync',
    pushFrom: as('4m', 4 * MiB),
    timeout: as('30s', 30 * second),
  },
  swarm: {
    stack: 'school-1',
    listen: '0.0.0.0:7422',
    advertise: '10.0.0.9:7422',
    published: 7_423,
    dial: 'overlay',
    network: 'kata-dial',
    key: 'swarm.key',
    registry: 'registry.local:5000/katafleet',
    rotate: as('off', undefined),
    linger: as('1m', minute),
    patience: as('10s', 10 * second),
    workers: [{ endpoint: 'ssh://test-runner@worker', ssh }],
  },
  server: { listen: '127.0.0.1:7421', names: ['katas.example.org'], bodyLimit: as('8m', 8 * MiB), grace: as('5s', 5 * second) },
};

/** The tree as it is written, or as it is meant. */
function tree(value: unknown, side: 'words' | 'means'): unknown {
  if (value instanceof InWords) return value[side];
  if (Array.isArray(value)) return value.map((each) => tree(each, side));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, tree(each, side)]));
}

/** Writes a configuration with every key and what it means, but for what is filled in where a key is absent. */
export function makeConfig(folder: string): void {
  writeFileSync(join(folder, 'katafleet.yaml'), stringify(tree(everything, 'words')));
  writeFileSync(join(folder, 'config.json'), goldenJson(tree(everything, 'means')));
}
