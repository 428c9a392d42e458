import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { KatafleetError } from '../../../src/model/errors.ts';
import { deployedConfig } from '../../../src/deploy/config.ts';
import { openDatabase } from '../../../src/store/worker/open.ts';

describe('paths in the configuration that is deployed', () => {
  let folder = '';
  before(() => (folder = mkdtempSync(join(tmpdir(), 'katafleet-paths-'))));
  after(() => rmSync(folder, { recursive: true }));
  const deployed = (text: string, kind: 'compose' | 'swarm') => {
    writeFileSync(join(folder, 'katafleet.yaml'), text);
    const of = { file: 'katafleet.yaml', env: {}, cwd: folder };
    return kind === 'swarm' ? deployedConfig(of, { stack: 'st' }) : deployedConfig(of);
  };
  const faults = (text: string, kind: 'compose' | 'swarm' = 'compose'): string[] => {
    try {
      deployed(text, kind);
      return [];
    } catch (error) {
      assert.ok(error instanceof KatafleetError && error.code === 'config.invalid', String(error));
      return error.message.split('\n').map((line) => line.replace(/ is a path that .*/, ''));
    }
  };

  it('may be in its volume and in its /tmp, whether this machine has them or not', () => {
    const state = '/var/lib/katafleet';
    const text = [
      `journal: { file: ${state}/j.db }`,
      `katas: { folder: ${state}/katas }`,
      `rsync: { folder: /tmp/rsync, roots: [${state}/katas], program: /usr/bin/rsync }`,
      `nodes:`,
      `  - { name: here, endpoint: 'unix:///var/run/docker.sock' }`,
      `  - { name: a, endpoint: 'ssh://a', ssh: { identity: ${state}/id, knownHosts: ${state}/known } }`,
      `  - { name: b, endpoint: 'tcp://b:2376', tls: ${state}/tls }`,
    ].join('\n');
    assert.deepEqual([faults(text), faults(text, 'swarm')], [[], []]);
    assert.deepEqual(faults("nodes: [{ name: here, endpoint: 'unix:///run/docker.sock' }]"), []);
    assert.deepEqual(faults('server: { grace: 9s }'), []);
  });

  it('are refused everywhere else, all at once, each with its line', () => {
    const text = [
      'journal: { file: /var/www/katafleet/journal.db }',
      'katas: { folder: katas }', // where its configuration lies, which can't be written
      'rsync: { folder: /var/lib/katafleet-2, roots: [/srv, /var/lib/katafleet/../x] }',
      'nodes:',
      "  - { name: a, endpoint: 'unix:///srv/docker.sock' }",
      "  - { name: b, endpoint: 'ssh://b', ssh: { config: /root/.ssh/config, identity: /root/.ssh/id } }",
      "  - { name: c, endpoint: 'tcp://c:1', tls: { ca: /etc/ca, cert: /var/lib/katafleet/cert, key: /etc/key } }",
    ].join('\n');
    assert.deepEqual(faults(text), [
      'katafleet.yaml:1: journal.file: "/var/www/katafleet/journal.db"',
      'katafleet.yaml:2: katas.folder: "katas"',
      'katafleet.yaml:3: rsync.folder: "/var/lib/katafleet-2"',
      'katafleet.yaml:3: rsync.roots[0]: "/srv"',
      'katafleet.yaml:3: rsync.roots[1]: "/var/lib/katafleet/../x"',
      'katafleet.yaml:6: nodes[1].ssh.config: "/root/.ssh/config"',
      'katafleet.yaml:6: nodes[1].ssh.identity: "/root/.ssh/id"',
      'katafleet.yaml:7: nodes[2].tls.ca: "/etc/ca"',
      'katafleet.yaml:7: nodes[2].tls.key: "/etc/key"',
      'katafleet.yaml:5: nodes[0].endpoint: "/srv/docker.sock"',
    ]);
  });

  it("may be a swarm's secret, which a single host has not", () => {
    const text = 'swarm: { key: /run/secrets/mine }';
    assert.deepEqual(faults(text, 'swarm'), []);
    assert.deepEqual(faults(text), ['katafleet.yaml:1: swarm.key: "/run/secrets/mine"']);
    assert.deepEqual(faults('journal: { file: /run/secrets/j }', 'swarm').length, 1);
  });
});

describe('a journal that can not be opened', () => {
  let folder = '';
  before(() => (folder = mkdtempSync(join(tmpdir(), 'katafleet-hint-'))));
  after(() => rmSync(folder, { recursive: true }));
  const hintOf = (file: string): string => {
    try {
      openDatabase(file, false).close();
    } catch (error) {
      assert.ok(error instanceof KatafleetError && error.code === 'journal.broken', String(error));
      return error.hint ?? '';
    }
    throw new Error('it was opened');
  };

  it('is told to be out of reach where that is so, and broken where it is that', () => {
    writeFileSync(join(folder, 'file'), 'no database, and longer than the head of one: '.repeat(40));
    assert.match(hintOf(join(folder, 'file/journal.db')), /must be able to make and write it.*journal\.file/);
    assert.match(hintOf(folder), /must be able to make and write it/);
    assert.match(hintOf(join(folder, 'file')), /move it away/);
  });
});
