import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { parse } from 'yaml';
import { redact, shownConfig } from '../../src/cli/commands/config.ts';
import { loadConfig } from '../../src/config/load.ts';
import { nearest } from '../../src/config/nearest.ts';
import { parseConfig } from '../../src/config/parse.ts';
import type { Config } from '../../src/config/schema.ts';
import { endpointForms } from '../../src/model/driver-kind.ts';
import { maskEndpoint } from '../../src/model/endpoint.ts';
import { KatafleetError } from '../../src/model/errors.ts';
import { poolKey, profileOf, sandboxLimits } from '../../src/model/profile.ts';
import { optionsOf } from '../../src/app/options.ts';

const [MiB, GiB] = [1024 ** 2, 1024 ** 3];

/** The lines of complaint about a text; fails where there is none, or where what is thrown is no config.invalid. */
function faults(text: string): string[] {
  try {
    parseConfig(text, 'k.yaml');
  } catch (error) {
    assert.ok(error instanceof KatafleetError, `${JSON.stringify(text)}: ${String(error)}`);
    assert.equal(error.code, 'config.invalid');
    return error.message.split('\n');
  }
  return assert.fail(`${JSON.stringify(text)} was taken`);
}

/** A node `a`, with more lines from line 4 on. */
const node = (...more: string[]) =>
  ['nodes:', '  - name: a', '    endpoint: unix:///a.sock', ...more.map((line) => `    ${line}`)].join('\n');

describe('configuration: what is wrong is named with file, line and path', () => {
  const cases: [what: string, text: string, fault: string][] = [
    ['a list in place of the whole', '- a', 'k.yaml:1: the file: expected object, got ["a"]'],
    ['an unknown key', 'images: {}\nquue: {}', 'k.yaml:2: quue: unknown key; did you mean queue?'],
    ['an unknown key further in', 'queue:\n  wait: 1s\n  runz: 3', 'k.yaml:3: queue.runz: unknown key; did you mean runs?'],
    ['two letters swapped', node('nmae: x'), 'k.yaml:4: nodes[0].nmae: unknown key; did you mean name?'],
    [
      'an unknown key in a map of a node',
      node('memory:', '  resevre: 1'),
      'k.yaml:5: nodes[0].memory.resevre: unknown key; did you mean reserve?',
    ],
    ['an unknown key in a profile', 'profiles:\n  p:\n    memroy: 5', 'k.yaml:3: profiles.p.memroy: unknown key; did you mean memory?'],
    ['a key like no other', 'retries:\n  xyzzy: 1', 'k.yaml:2: retries.xyzzy: unknown key; known are: attempts'],
    ['a key that every object has', 'constructor: 1', 'k.yaml:1: constructor: unknown key; known are: nodes, '],
    ['a key that is more than a name', 'queue: {}\n[a, b]: c', 'k.yaml:2: expected a plain name as key, got ["a","b"]'],
    [
      'a key that would be left out in silence',
      'profiles:\n  __proto__: {pids: 5}',
      'k.yaml:2: expected a plain name as key, got __proto__',
    ],
    ['no nodes', 'nodes: []', 'k.yaml:1: nodes: expected array to have >=1 items, got []'],
    ['a node that is none', 'nodes:\n  - 3', 'k.yaml:2: nodes[0]: expected object, got 3'],
    ['a node without a name', 'nodes:\n  - endpoint: unix:///a', 'k.yaml:2: nodes[0].name: is missing'],
    [
      'a name that looks like an option',
      'nodes:\n  - name: "-x"\n    endpoint: unix:///a',
      'k.yaml:2: nodes[0].name: must be 1 to 63 letters',
    ],
    [
      'two nodes with one name',
      node() + '\n  - name: a\n    endpoint: unix:///b',
      'k.yaml:4: nodes[1].name: two nodes are named "a" (the first is on line 2)',
    ],
    [
      'two nodes with one endpoint',
      node() + '\n  - name: b\n    endpoint: unix:///a.sock',
      'k.yaml:5: nodes[1].endpoint: two nodes have the endpoint of a (the first is on line 3)',
    ],
    [
      'one endpoint in two spellings',
      'nodes:\n  - {name: a, endpoint: "tcp://H:2375"}\n  - {name: b, endpoint: "http://h/"}',
      'k.yaml:3: nodes[1].endpoint: two nodes have the endpoint of a (the first is on line 2)',
    ],
    [
      'an endpoint that is none',
      'nodes:\n  - name: a\n    endpoint: banana',
      `k.yaml:3: nodes[0].endpoint: expected ${endpointForms}, got "banana"`,
    ],
    ['an endpoint of another kind', 'nodes:\n  - name: a\n    endpoint: ftp://x', `k.yaml:3: nodes[0].endpoint: expected ${endpointForms}`],
    [
      'a port beyond all ports',
      'nodes:\n  - name: a\n    endpoint: tcp://h:99999',
      `k.yaml:3: nodes[0].endpoint: expected ${endpointForms}`,
    ],
    ['an endpoint with a password', 'nodes:\n  - name: a\n    endpoint: ftp://u:hunter2@h', 'got "ftp://u:***@h"'],
    ['TLS over a unix socket', node('tls: /certs'), 'k.yaml:4: nodes[0].tls: goes with tcp:// only, got the endpoint unix:///a.sock'],
    ['TLS with one file of three', node('tls:', '  ca: x'), 'nodes[0].tls.cert: is missing'],
    ['labels as a list', node('labels: [a]'), 'k.yaml:4: nodes[0].labels: expected record, got ["a"]'],
    ['a label that is a number', node('labels: {zone: 1}'), 'k.yaml:4: nodes[0].labels.zone: expected string, got 1'],
    ['a label with a space', node('labels:', '  "a b": x'), 'k.yaml:5: nodes[0].labels.a b: the name must be 1 to 128 letters'],
    ['an unknown driver', node('driver: docker'), 'k.yaml:4: nodes[0].driver: expected one of "auto"|"swarm"|"engine"|"ssh", got "docker"'],
    ['a negative number', node('starts: -1'), 'k.yaml:4: nodes[0].starts: expected number to be >=1, got -1'],
    ['an absurd number', node('starts: 1e9'), 'k.yaml:4: nodes[0].starts: expected number to be <=1000, got 1000000000'],
    ['a yes of YAML 1.1', node('cordoned: yes'), 'k.yaml:4: nodes[0].cordoned: expected boolean, got "yes"'],
    [
      'more than all memory left free',
      node('memory: {reserve: 100%}'),
      'k.yaml:4: nodes[0].memory.reserve: expected a size such as 512m or a share from 0% to 99%, got "100%"',
    ],
    [
      'a negative size',
      'defaults: {reserve: -5}',
      'k.yaml:1: defaults.reserve: expected a size such as 512m or a share from 0% to 99%, got -5',
    ],
    ['a size in no unit that there is', 'profiles: {p: {memory: 512x}}', 'profiles.p.memory: expected a size such as 512m, got "512x"'],
    ['too small a size', 'profiles: {p: {memory: 1k}}', 'profiles.p.memory: expected a size from 16 MiB to 1 TiB, got "1k"'],
    ['an absurd size', 'profiles: {p: {memory: 9999999999g}}', 'profiles.p.memory: expected a size such as 512m, got "9999999999g"'],
    ['half a byte', 'profiles: {p: {memory: 16777216.5}}', 'profiles.p.memory: expected a size from 16 MiB'],
    ['what is no number', 'profiles: {p: {cpus: .nan}}', 'k.yaml:1: profiles.p.cpus: expected number, got NaN'],
    ['infinity', 'profiles: {p: {cpus: .inf}}', 'k.yaml:1: profiles.p.cpus: expected number, got Infinity'],
    ['a profile that is nothing', 'profiles:\n  p:', 'k.yaml:2: profiles.p: expected object, got null'],
    ['a profile with no name for one', 'profiles:\n  "a b": {}', 'k.yaml:2: profiles.a b: the name must be 1 to 63 letters'],
    ['a negative time', 'queue: {wait: -1s}', 'k.yaml:1: queue.wait: expected a time such as 10s, got "-1s"'],
    ['too short a time', 'health:\n  interval: 1', 'k.yaml:2: health.interval: expected a time from 100ms to 10m, got 1'],
    ['too long a time', 'journal: {keepResults: 9999d}', 'k.yaml:1: journal.keepResults: expected a time from 1m to 3650d, got "9999d"'],
    ['a time or off, and neither', 'images: {pruneAfter: never}', 'k.yaml:1: images.pruneAfter: expected a time such as 10s, got "never"'],
    [
      'a time or off, and too short',
      'images: {pruneAfter: 5s}',
      'k.yaml:1: images.pruneAfter: expected a time from 1h to 3650d, got "5s"; or off',
    ],
    [
      'a schedule in words',
      'schedules: {reap: every day}',
      'k.yaml:1: schedules.reap: expected five or six fields of cron, or off, got "every day"',
    ],
    ['a minute that no hour has', 'schedules: {reap: 61 * * * *}', 'k.yaml:1: schedules.reap: expected five or six fields of cron'],
    ['a schedule that is false', 'schedules: {reap: false}', 'k.yaml:1: schedules.reap: expected string, got false'],
    [
      'a pool of an unknown profile',
      'profiles: {big: {}}\npools:\n  - {image: x, profile: bigg, idle: {max: 1}}',
      'k.yaml:3: pools[0].profile: no profile "bigg"; there are: default, big',
    ],
    [
      'a pool of what every object has',
      'pools: [{image: x, profile: constructor, idle: {max: 1}}]',
      'k.yaml:1: pools[0].profile: no profile "constructor"; there are: default',
    ],
    [
      'a pool whose min is above its max',
      'pools:\n  - image: x\n    idle: {min: 3, max: 1}',
      'k.yaml:3: pools[0].idle.min: expected no more than max, which is 1, got 3',
    ],
    [
      'one pool twice',
      'pools:\n  - {image: x, idle: {max: 1}}\n  - {image: x, idle: {max: 2}}',
      'k.yaml:3: pools[1]: two pools of x with the profile default (the first is on line 2)',
    ],
    ['an image with a space', 'pools: [{image: a b, idle: {max: 1}}]', 'k.yaml:1: pools[0].image: must be the name of an image, got "a b"'],
    [
      'an address without a host',
      'server: {listen: ":7420"}',
      'k.yaml:1: server.listen: expected HOST:PORT such as 127.0.0.1:7420, got ":7420"',
    ],
    [
      'an address with a port beyond all',
      'server: {listen: "h:99999"}',
      'k.yaml:1: server.listen: expected HOST:PORT such as 127.0.0.1:7420, got "h:99999"',
    ],
    [
      'a name of the server with a port',
      'server: {names: [a.example, "b.example:443"]}',
      'k.yaml:1: server.names[1]: expected the name of a host, without a port, got "b.example:443"',
    ],
    ['an unknown key of the swarm', 'swarm:\n  advertize: h:1', 'k.yaml:2: swarm.advertize: unknown key; did you mean advertise?'],
    [
      'an advertised address without a port',
      'swarm: {advertise: manager.local}',
      'k.yaml:1: swarm.advertise: expected HOST:PORT such as 10.0.0.7:7421, got "manager.local"',
    ],
    ['one of several without', 'swarm: {advertise: "h:1,i"}', 'swarm.advertise: expected HOST:PORT such as 10.0.0.7:7421, got "i"'],
    ['one with the port 0', 'swarm: {advertise: "h:0"}', 'swarm.advertise: expected HOST:PORT such as 10.0.0.7:7421, got "h:0"'],
    [
      'one that is every address',
      'swarm: {advertise: "0.0.0.0:7421"}',
      'swarm.advertise: expected an address that tasks can dial, got "0.0.0.0:7421"',
    ],
    ['a stack that no service could be named after', 'swarm: {stack: Kata.Fleet}', 'swarm.stack: must be 1 to 32 small letters'],
    ['a network for tasks that is none', 'swarm: {dial: bridge}', 'swarm.dial: expected one of "host"|"overlay", got "bridge"'],
    ['the same in a profile', 'profiles: {p: {dial: none}}', 'profiles.p.dial: expected one of "host"|"overlay", got "none"'],
    [
      'a registry that Docker would look for on its hub',
      'swarm: {registry: katafleet}',
      'swarm.registry: expected HOST[:PORT][/PATH] of a registry, such as registry.local:5000/katafleet, got "katafleet"',
    ],
    ['a registry with a scheme', 'swarm: {registry: "https://r.local"}', 'swarm.registry: expected HOST[:PORT][/PATH]'],
    ['secrets that turn too quickly', 'swarm: {rotate: 1s}', 'swarm.rotate: expected a time from 1m to 365d, got "1s"; or off'],
    ['no patience at all', 'swarm: {patience: 0}', 'swarm.patience: expected a time from 1s to 1h, got 0'],
    [
      'a worker with keys for another kind of endpoint',
      'swarm:\n  workers:\n    - {endpoint: "ssh://h", tls: t}',
      'k.yaml:3: swarm.workers[0].tls: goes with tcp:// only, got the endpoint ssh://h',
    ],
    [
      'one worker twice',
      'swarm:\n  workers:\n    - {endpoint: "tcp://h"}\n    - {endpoint: "tcp://H:2375/"}',
      'k.yaml:4: swarm.workers[1].endpoint: two workers have this endpoint (the first is on line 3)',
    ],
    ['a bracket that is not closed', 'queue: {}\nimages: [1', 'k.yaml:2: Flow sequence'],
    ['tabs', 'queue:\n\truns: 1', 'k.yaml:2: Tabs are not allowed'],
    ['a key twice', 'queue:\n  runs: 1\n  runs: 2', 'k.yaml:3: Map keys must be unique'],
    ['two documents', 'queue: {}\n---\nqueue: {}', 'k.yaml:2: a second document begins here'],
    ['an alias of nothing', 'queue: {}\nimages: *nope', 'k.yaml:2: the alias *nope has no anchor before it'],
    ['a tag that would be left out in silence', 'queue: {}\ndefaults: !js {}', 'k.yaml:2: Unresolved tag: !js'],
  ];
  for (const [what, text, fault] of cases) {
    it(what, () => {
      const told = faults(text);
      assert.ok(
        told.some((line) => line.includes(fault)),
        `${fault}\nis not among\n${told.join('\n')}`,
      );
      for (const line of told) assert.match(line, /^k\.yaml:\d+: /);
    });
  }

  it('every fault at once, in the order of the file', () => {
    assert.deepEqual(
      faults('defaults:\n  reserve: -1\nqueue:\n  runs: none\nfoo: 1').map((line) => line.split(': ', 2).join(' ')),
      ['k.yaml:2 defaults.reserve', 'k.yaml:4 queue.runs', 'k.yaml:5 foo'],
    );
  });

  it('a few aliases are taken, a bomb of them is refused before it goes off', () => {
    const { value } = parseConfig(`profiles:\n  a: &a {memory: 64m}\n  b: *a`, 'k.yaml');
    assert.equal(value.profiles['b']?.memory, 64 * MiB);
    const bomb = ['a: &a [x, x, x, x, x, x, x, x, x]'];
    for (const [from, to] of ['ab', 'bc', 'cd', 'de', 'ef', 'fg', 'gh', 'hi'])
      bomb.push(`${to}: &${to} [${Array(9).fill(`*${from}`).join()}]`);
    assert.match(faults(bomb.join('\n')).join(), /^k\.yaml:2: the aliases expand to too many values/);
  });

  it('what is nested deeper than anything is refused in words', () => {
    assert.match(faults('['.repeat(20_000)).join(), /^k\.yaml:?\d*: /);
  });

  it('whatever the text is, it is read or refused in words', () => {
    const piece = fc.constantFrom(
      'nodes:',
      'queue',
      ': ',
      '\n',
      '  ',
      '- ',
      '{',
      '}',
      '[',
      ']',
      '*a',
      '&a ',
      '!t ',
      '"',
      "'",
      '|',
      '>',
      '#',
      '? ',
      '__proto__',
      '1',
      '-1',
      'x',
      '\t',
      '<<',
      '---\n',
      ',',
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 30 }), (pieces) => {
        const text = pieces.join('');
        try {
          parseConfig(text, 'k.yaml');
        } catch (error) {
          assert.ok(error instanceof KatafleetError && error.code === 'config.invalid', `${JSON.stringify(text)}: ${String(error)}`);
        }
      }),
      { numRuns: 500 },
    );
  });

  it('offers a key that is one slip away, and none that is far', () => {
    const known = ['name', 'endpoint', 'withoutMemoryLimits'];
    assert.deepEqual(
      ['nmae', 'Name', 'nam', 'endpiont', 'withoutmemorylimit', 'zone', ''].map((key) => nearest(key, known)),
      ['name', 'name', 'name', 'endpoint', 'withoutMemoryLimits', undefined, undefined],
    );
  });
});

describe('configuration: defaults and places', () => {
  let folder: string;
  const at = (name: string) => join(folder, name);
  const load = (options: { file?: string; env?: NodeJS.ProcessEnv } = {}) => loadConfig({ env: {}, cwd: folder, ...options });
  const refuses = (code: string, about: RegExp) => (error: unknown) =>
    error instanceof KatafleetError && error.code === code && about.test(error.message);
  beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'katafleet-config-'))));
  afterEach(() => rmSync(folder, { recursive: true }));

  it('an empty file is all defaults', () => {
    writeFileSync(at('katafleet.yaml'), '# nothing yet\n');
    const { config, source } = load({ env: { XDG_STATE_HOME: '/state' } });
    assert.equal(source, at('katafleet.yaml'));
    assert.deepEqual(config, {
      nodes: undefined,
      defaults: { reserve: { share: 0.1 }, driver: 'auto', idleMemory: 16 * MiB, withoutMemoryLimits: false },
      profiles: { default: profileOf() },
      pools: [],
      sandboxes: { uids: { first: 45_056, count: 1_024 } },
      images: { copy: true, keep: [], pruneAfter: undefined },
      queue: { runs: 10_000, bytes: GiB, perTenant: 5_000, wait: 60_000 },
      health: { interval: 2_000, timeout: 2_000, start: 60_000, failures: 3, successes: 2, away: 60_000 },
      retries: { attempts: 3 },
      runs: { acquire: 60_000 },
      sessions: { most: 100, perTenant: 50, idle: 600_000, age: 3_600_000, memory: 0.5 },
      placement: { policy: 'spread' },
      journal: {
        keepResults: 7 * 86_400_000,
        keepBytes: 4 * GiB,
        keepEvents: 30 * 86_400_000,
        durability: 'process',
        file: '/state/katafleet/journal.db',
      },
      katas: { folder: '/state/katafleet/katas' },
      schedules: {
        inventory: '*/5 * * * *',
        reap: '* * * * *',
        retention: '17 * * * *',
        prune: '41 3 * * *',
        pools: '* * * * *',
        jitter: 10_000,
      },
      reaping: { grace: 60_000 },
      rsync: {
        daemon: 'off',
        program: 'rsync',
        accept: [],
        folder: '/state/katafleet/rsync',
        listen: '127.0.0.1:8730',
        advertise: '127.0.0.1:8730',
        hostsAllow: ['127.0.0.1/32'],
        roots: [],
        network: 'bridge',
        pushFrom: 1024 ** 2,
        timeout: 60_000,
      },
      swarm: {
        stack: 'katafleet',
        listen: '0.0.0.0:7421',
        dial: 'host',
        key: '/state/katafleet/swarm.key',
        rotate: 7 * 86_400_000,
        linger: 600_000,
        patience: 30_000,
        workers: [],
      },
      server: { listen: '127.0.0.1:7420', names: [], bodyLimit: 64 * MiB, grace: 20_000 },
    } satisfies Config);
  });

  it('what is configured for sessions, retries and the queue is what katafleet keeps to', () => {
    const lines = [
      'sessions: {most: 7, perTenant: 3, idle: 2m, age: 30m, memory: 20%}',
      'retries: {attempts: 9}',
      'runs: {acquire: 20s}',
      'queue: {runs: 11, perTenant: 5}',
    ];
    writeFileSync(at('katafleet.yaml'), lines.join('\n'));
    const { sessions, attempts, acquireMs, queue } = optionsOf(load().config);
    assert.deepEqual(sessions, { most: 7, perTenant: 3, idleMs: 120_000, ageMs: 1_800_000, memory: 0.2 });
    assert.deepEqual([attempts, acquireMs, queue?.runs, queue?.perTenant], [9, 20_000, 11, 5]);
  });

  it('a node takes what it does not say from the defaults, and a default profile can be configured', () => {
    writeFileSync(
      at('katafleet.yaml'),
      [
        'defaults: {reserve: 1g, driver: engine, withoutMemoryLimits: true}',
        'profiles: {default: {memory: 64m, wallMs: 2s}, big: {memory: 2g}}',
        'nodes:',
        '  - {name: a, endpoint: "unix:///a"}',
        '  - {name: b, endpoint: "unix:///b", memory: {reserve: 5%}, driver: auto, withoutMemoryLimits: false, cordoned: true, starts: 3}',
      ].join('\n'),
    );
    const { config } = load();
    assert.deepEqual(config.nodes, [
      {
        name: 'a',
        endpoint: 'unix:///a',
        labels: {},
        cordoned: false,
        driver: 'engine',
        reserve: { bytes: GiB },
        withoutMemoryLimits: true,
      },
      {
        name: 'b',
        endpoint: 'unix:///b',
        labels: {},
        cordoned: true,
        starts: 3,
        driver: 'auto',
        reserve: { share: 0.05 },
        withoutMemoryLimits: false,
      },
    ]);
    assert.deepEqual([config.profiles['default']?.wallMs, config.profiles['big']?.memory], [2_000, 2 * GiB]);
  });

  it('the file that is named wins, then KATAFLEET_CONFIG, then ./katafleet.yaml', () => {
    for (const name of ['named', 'environment', 'katafleet']) writeFileSync(at(`${name}.yaml`), `server: {listen: "${name}:1"}`);
    const env = { KATAFLEET_CONFIG: 'environment.yaml' };
    const listens = (options: Parameters<typeof load>[0]) => load(options).config.server.listen;
    assert.deepEqual(
      [listens({ file: 'named.yaml', env }), listens({ env }), listens({ env: { KATAFLEET_CONFIG: '' } }), listens({})],
      ['named:1', 'environment:1', 'katafleet:1', 'katafleet:1'],
    );
  });

  it('a file that was named and is not there is an error; none at all is the local engine', () => {
    assert.throws(() => load({ file: 'none.yaml' }), refuses('config.missing', /^the configuration none\.yaml can't be read: ENOENT/));
    assert.throws(() => load({ env: { KATAFLEET_CONFIG: folder } }), refuses('config.missing', /EISDIR/));
    const { config, source } = load();
    assert.deepEqual([config.nodes, source], [undefined, undefined]);
    const [local, ...others] = optionsOf(config).nodes ?? [];
    assert.deepEqual([local?.name, others.length], ['local', 0]);
  });

  it('paths are relative to the file; TLS files that are not there are named with the line', () => {
    mkdirSync(at('etc'));
    const text = ['journal: {file: j.db}', 'nodes:', '  - name: a', '    endpoint: tcp://h:2376', '    tls: certs'].join('\n');
    writeFileSync(at('etc/k.yaml'), text);
    assert.throws(
      () => load({ file: 'etc/k.yaml' }),
      refuses('config.invalid', /^etc\/k\.yaml:5: nodes\[0\]\.tls: there is no file .*\/etc\/certs\/ca\.pem$/),
    );
    mkdirSync(at('etc/certs'));
    for (const name of ['ca', 'cert', 'key']) writeFileSync(at(`etc/certs/${name}.pem`), '');
    const { config } = load({ file: 'etc/k.yaml' });
    assert.deepEqual([config.nodes?.[0]?.tls, config.journal.file], [at('etc/certs'), at('etc/j.db')]);
  });

  it('a swarm: its paths are relative to the file, its key lies beside the journal; what can be off is', () => {
    mkdirSync(at('etc'));
    const text = [
      'journal: {file: state/j.db}',
      'swarm:',
      '  advertise: "[fd00::7]:7421"',
      '  registry: registry.local:5000/kata/fleet',
      '  rotate: off',
      '  workers:',
      '    - {endpoint: "unix:///w"}',
      '    - endpoint: tcp://w2:2376',
      '      tls: certs',
    ];
    writeFileSync(at('etc/k.yaml'), text.join('\n'));
    assert.throws(
      () => load({ file: 'etc/k.yaml' }),
      refuses('config.invalid', /^etc\/k\.yaml:9: swarm\.workers\[1\]\.tls: there is no file .*\/etc\/certs\/ca\.pem$/),
    );
    writeFileSync(at('etc/k.yaml'), [...text.slice(0, 8), '      tls: {ca: k.yaml, cert: k.yaml, key: k.yaml}'].join('\n'));
    const { swarm } = load({ file: 'etc/k.yaml' }).config;
    const own = at('etc/k.yaml');
    assert.deepEqual(
      [swarm.key, swarm.advertise, swarm.registry, swarm.rotate, swarm.workers],
      [
        at('etc/state/swarm.key'),
        '[fd00::7]:7421',
        'registry.local:5000/kata/fleet',
        undefined,
        [{ endpoint: 'unix:///w' }, { endpoint: 'tcp://w2:2376', tls: { ca: own, cert: own, key: own } }],
      ],
    );
    writeFileSync(at('katafleet.yaml'), 'swarm: {key: keys/s, rotate: 2h, dial: overlay}');
    const other = load().config.swarm;
    assert.deepEqual([other.key, other.rotate, other.dial], [at('keys/s'), 2 * 3_600_000, 'overlay']);
  });

  it('a registry is named by a host with a dot or a port, and a path', () => {
    for (const registry of ['localhost', 'localhost:5000', 'r.local/a-b/c_d', 'r:5000', '10.0.0.7:5000/x', '[fd00::1]:5000'])
      assert.equal(parseConfig(`swarm: {registry: "${registry}"}`, 'k.yaml').value.swarm.registry, registry);
  });

  it('a profile names the network of its programs, and never the machine’s own', () => {
    const { value } = parseConfig('profiles: {online: {network: class-7b}}', 'k.yaml');
    const limits = sandboxLimits(value.profiles['online'] ?? assert.fail());
    assert.equal(limits.joins, 'class-7b');
    assert.notEqual(poolKey('i', limits), poolKey('i', sandboxLimits(profileOf())));
    for (const name of ['host', 'none', 'container:x', ''])
      assert.throws(
        () => parseConfig(`profiles: {online: {network: "${name}"}}`, 'k.yaml'),
        /network: expected the name of a Docker network/,
      );
  });

  it('the network on which a sandbox dials is a limit of its own, and absent where nobody said', () => {
    const { value } = parseConfig('profiles: {over: {dial: overlay}, plain: {}}', 'k.yaml');
    const limits = ['over', 'plain'].map((name) => sandboxLimits(value.profiles[name] ?? assert.fail()));
    assert.deepEqual([limits[0]?.dial, Object.hasOwn(limits[1] ?? {}, 'dial')], ['overlay', false]);
    assert.notEqual(...(limits.map((one) => poolKey('i', one)) as [string, string]));
    assert.equal(poolKey('i', limits[1] ?? assert.fail()), poolKey('i', sandboxLimits(profileOf())));
  });

  it('the example in docs/config.md is taken, and uses every section', () => {
    const page = readFileSync(new URL('../../docs/config.md', import.meta.url), 'utf8');
    const example = /```yaml\n([^]*?)```/.exec(page)?.[1] ?? '';
    const { value } = parseConfig(example, 'docs/config.md');
    assert.deepEqual(Object.keys(parse(example) as object).sort(), Object.keys(value).sort());
  });

  it('docs/config.md has every key', () => {
    const page = readFileSync(new URL('../../docs/config.md', import.meta.url), 'utf8');
    const { config } = load();
    const sections = Object.entries(config).filter(([name]) => !['nodes', 'profiles', 'pools'].includes(name));
    const keys = sections.flatMap(([section, fields]) => Object.keys(fields as object).map((key) => `${section}.${key}`));
    const nodes = [
      'name',
      'endpoint',
      'tls',
      'managers',
      'labels',
      'driver',
      'memory.reserve',
      'withoutMemoryLimits',
      'starts',
      'cordoned',
    ];
    keys.push(...nodes.map((key) => `nodes[].${key}`), ...Object.keys(profileOf()).map((key) => `profiles.NAME.${key}`));
    keys.push('profiles.NAME.dial', ...['advertise', 'network', 'registry'].map((key) => `swarm.${key}`));
    keys.push(...['endpoint', 'tls', 'ssh'].map((key) => `swarm.workers[].${key}`));
    keys.push(...['image', 'profile', 'idle.min', 'idle.max'].map((key) => `pools[].${key}`));
    assert.deepEqual(
      keys.filter((key) => key !== 'swarm.workers' && !page.includes(`\`${key}\``)),
      [],
    );
  });
});

describe('configuration: secrets stay hidden', () => {
  it('passwords of endpoints, wherever they stand, and whatever is named like a secret', () => {
    const shown = redact({
      nodes: [{ endpoint: 'tcp://user:hunter2@h:2376' }, { endpoint: 'ssh://git@h' }],
      apiToken: 'hunter2',
      tokens: ['hunter2'],
      token: { value: 'kept' },
    });
    assert.deepEqual(shown, {
      nodes: [{ endpoint: 'tcp://user:***@h:2376' }, { endpoint: 'ssh://git@h' }],
      apiToken: '***',
      tokens: ['***'],
      token: { value: 'kept' },
    });
  });

  it('config show says off where something is off', () => {
    const { config } = loadConfig({ env: {}, cwd: '/nowhere' });
    const shown = shownConfig({ ...config, schedules: { ...config.schedules, reap: undefined } }) as Record<
      string,
      Record<string, unknown>
    >;
    assert.deepEqual([shown['schedules']?.['reap'], shown['images']?.['pruneAfter'], 'nodes' in shown], ['off', 'off', false]);
    const { swarm } = shownConfig({ ...config, swarm: { ...config.swarm, rotate: undefined } }) as { swarm: Record<string, unknown> };
    assert.deepEqual([swarm['rotate'], swarm['key']], ['off', config.swarm.key]);
  });

  it('a password with an @ in it too', () => {
    assert.equal(maskEndpoint('ssh://u:p@ss:w@h:22/x@y'), 'ssh://u:***@h:22/x@y');
    assert.equal(maskEndpoint('tcp://:pw@h'), 'tcp://:***@h');
    assert.equal(maskEndpoint('unix:///var/run/a:b@c'), 'unix:///var/run/a:b@c');
  });
});
