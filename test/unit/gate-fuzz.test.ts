import assert from 'node:assert/strict';
import fc from 'fast-check';
import { containers, gateQuestions as questions, GateRig, images, installedSupervisor, sandboxRun } from '../support/gate.ts';

/**
 * The admitted forms once more, written as expressions rather than as a parser: what reaches docker fits one of them,
 * and what fits one of them reaches docker.
 */
const sandbox = String.raw`katafleet-[a-z0-9-]{1,80}`;
const forms = [
  /^docker (version|info|images --no-trunc|ps -a -q --no-trunc|load)$/,
  new RegExp(String.raw`^docker inspect(?: (?:[0-9a-f]{12,64}|${sandbox}|[a-z0-9][a-z0-9._/:@-]*(?::[A-Za-z0-9._/@-]*)?)){1,200}$`),
  new RegExp(`^docker rm -f -v (?:${sandbox}|${containers.ours})$`),
  new RegExp(
    [
      String.raw`^docker run -i --name ${sandbox} -m (\d+) --memory-swap \1 -c \d+`,
      String.raw` --ulimit core=1:1 --ulimit nofile=(\d+):\2 --net none(?: -h sandbox(?: --ipc none| --shm-size \d+)?)? --read-only -u 0:0 -w / --cap-drop ALL`,
      ` --cap-add SETUID --cap-add SETGID --cap-add SETPCAP --cap-add KILL --cap-add CHOWN --cap-add FOWNER --cap-add DAC_OVERRIDE`,
      '(?: --cap-add SYS_ADMIN)?(?: -v /sandbox)?(?: -v /tmp)?',
      ` -v ${installedSupervisor}:/.katafleet/supervisor:ro --log-driver none`,
      String.raw`(?: -l katafleet\.(?!role=)[a-z0-9.-]+=\S*)* -l katafleet\.role=sandbox(?: -l katafleet\.(?!role=)[a-z0-9.-]+=\S*)*`,
      String.raw` --entrypoint /\.katafleet/supervisor (?:sha256:)?(?:${images.admitted}|${images.adapted})`,
      String.raw` --lifetime \d+(?: --tmpfs /sandbox=\d+)?(?: --tmpfs /tmp=\d+)?(?: --shm \d+)?$`,
    ].join(''),
  ),
];
const plain = /^[A-Za-z0-9_./:=,@%+-]+(?: [A-Za-z0-9_./:=,@%+-]+)*$/;
const fits = (line: string) => plain.test(line) && line.length <= 32_768 && forms.some((form) => form.test(line));

const lines = [
  sandboxRun(),
  sandboxRun(images.adapted),
  'docker version'.split(' '),
  'docker images --no-trunc'.split(' '),
  'docker ps -a -q --no-trunc'.split(' '),
  `docker inspect katafleet-a ${containers.ours} katafleet/gcc:latest`.split(' '),
  `docker rm -f -v katafleet-0f3c-1`.split(' '),
  `docker rm -f -v ${containers.ours}`.split(' '),
  'docker load'.split(' '),
];
const words = fc.oneof(
  fc.constantFrom(
    ...[
      '--privileged',
      '-v',
      '/:/host',
      '--net',
      'host',
      '--cap-add',
      'ALL',
      'SYS_ADMIN',
      '-d',
      '--rm',
      '--pid',
      '-H',
      'tcp://1',
      '--',
      '-',
      'sh',
      '-c',
    ],
    ...[
      '--name',
      'x',
      '-m',
      '0',
      '--memory-swap',
      '-1',
      '67108864',
      '--entrypoint',
      '/bin/sh',
      '-u',
      '0:0',
      '-w',
      '/',
      '--read-only=false',
      '-l',
      '-f',
    ],
    ...[
      'katafleet.role=sandbox',
      'katafleet.role=x',
      'a=b',
      '--tmpfs',
      '/sandbox:rw',
      '--pids-limit',
      '128',
      '--lifetime',
      '1',
      '/sandbox',
      '/tmp=5',
    ],
    ...[
      'exec',
      'run',
      'rm',
      'build',
      'inspect',
      'docker',
      'katafleet-gate',
      images.foreign,
      images.admitted,
      containers.foreign,
      'debian',
      '--no-trunc',
    ],
    ...['$(id)', '`id`', ';', '&&', '|', '>', '*', '~', "'", '"', '\\', '\t', '\n', '\r', '\x1b', '\u00a0', 'é', '', ' '],
  ),
  fc.string({ unit: 'binary', maxLength: 12 }).map((text) => text.replaceAll('\0', '')),
  fc.stringMatching(/^[A-Za-z0-9_./:=,@%+-]{1,12}$/),
);
const change = fc.record({ kind: fc.constantFrom('replace', 'insert', 'delete', 'swap', 'double', 'glue'), at: fc.nat(60), word: words });

function apply(line: readonly string[], { kind, at, word }: { kind: string; at: number; word: string }): string[] {
  const place = at % line.length;
  const [before, here = '', after] = [line.slice(0, place), line[place], line.slice(place + 1)];
  switch (kind) {
    case 'replace':
      return [...before, word, ...after];
    case 'insert':
      return [...before, word, here, ...after];
    case 'delete':
      return [...before, ...after];
    case 'swap':
      return [...before, ...after.slice(0, 1), here, ...after.slice(1)];
    case 'double':
      return [...before, here, here, ...after];
    default:
      return [...before, here + word, ...after];
  }
}

const mutated = fc
  .tuple(fc.constantFrom(...lines), fc.array(change, { maxLength: 3 }))
  .map(([line, changes]) =>
    changes.reduce((sofar: string[], next) => (sofar.length === 0 ? sofar : apply(sofar, next)), [...line]).join(' '),
  )
  // Bounds of numbers are tried one by one in gate.test.ts; here a form is all that counts.
  .filter((line) => line !== '' && !line.includes('\0'));

describe('katafleet-gate, fuzzed', function () {
  this.timeout(180_000);

  for (const shell of [['dash'], ['bash', '--posix']]) {
    it(`docker sees an admitted form word for word, or nothing (${shell[0] ?? ''})`, () => {
      using rig = new GateRig();
      const seen = { admitted: 0, refused: 0 };
      fc.assert(
        fc.property(mutated, (line) => {
          const { code, admitted, calls, stderr } = rig.ask(line, { shell });
          if (code === 126) {
            seen.refused += 1;
            assert.ok(
              calls.every((call) => questions.test(call.join(' '))),
              JSON.stringify(calls),
            );
            assert.match(stderr, /^katafleet-gate: refused: [ -~]+\n$/);
            return;
          }
          seen.admitted += 1;
          assert.equal(code, 0, stderr);
          assert.ok(fits(line), `admitted: ${JSON.stringify(line)}`);
          assert.deepEqual(admitted, line.split(' ').slice(1));
          assert.ok(
            calls.slice(0, -1).every((call) => questions.test(call.join(' '))),
            JSON.stringify(calls),
          );
        }),
        { numRuns: 400 },
      );
      assert.ok(seen.admitted > 20 && seen.refused > 20, JSON.stringify(seen));
    });
  }

  it('admits every line of an admitted form', () => {
    using rig = new GateRig();
    const number = fc.integer({ min: 16_777_216, max: 2 ** 31 });
    const optional = (text: string) => fc.constantFrom('', ` ${text}`);
    const label = fc
      .tuple(fc.stringMatching(/^[a-qs-z][a-z-]{0,9}$/), fc.stringMatching(/^[A-Za-z0-9_./:=,@%+-]{0,20}$/))
      .map(([key, value]) => ` -l katafleet.${key}=${value}`);
    const admitted = fc.tuple(number, optional('--cap-add SYS_ADMIN'), fc.array(label, { maxLength: 4 })).map(([memory, admin, labels]) =>
      sandboxRun()
        .join(' ')
        .replaceAll('67108864', String(memory))
        .replace(' --cap-add SYS_ADMIN', admin)
        .replace(' --entrypoint', `${labels.join('')} --entrypoint`),
    );
    fc.assert(
      fc.property(admitted, (line) => {
        assert.ok(fits(line), line);
        const { code, stderr } = rig.ask(line);
        assert.equal(code, 0, `${line}: ${stderr}`);
      }),
      { numRuns: 100 },
    );
  });
});
