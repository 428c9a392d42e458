import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { KatafleetError } from '../../../src/model/errors.ts';
import { decodeValue, encodeValue } from '../../../src/drivers/ssh/labels.ts';
import { fingerprint } from '../../../src/drivers/ssh/fingerprint.ts';
import { parseImages } from '../../../src/drivers/ssh/parse/images.ts';
import { parseInfo } from '../../../src/drivers/ssh/parse/info.ts';
import { parseInspect } from '../../../src/drivers/ssh/parse/inspect.ts';
import { parseIds } from '../../../src/drivers/ssh/parse/ps.ts';
import { shownBytes } from '../../../src/drivers/ssh/parse/quantity.ts';
import { parseRelease, parseVersion, since } from '../../../src/drivers/ssh/parse/version.ts';

const golden = (path: string) => readFileSync(new URL(`golden/${path}`, import.meta.url), 'utf8');
const GiB = 1024 ** 3;

describe('docker version', () => {
  it('parses the flat form of 1.6.2', () => {
    assert.deepEqual(parseVersion(golden('1.6.2/version.txt')), { client: '1.6.2', server: '1.6.2', api: '1.18', architecture: 'amd64' });
  });

  it('parses the two sections of 1.8 to 18.06', () => {
    const section = (name: string) =>
      `${name}:\n Version:      1.12.6\n API version:  1.24\n Go version:   go1.6.4\n OS/Arch:      linux/arm64\n`;
    const read = parseVersion(`${section('Client')}\n${section('Server')}`);
    assert.deepEqual(read, { client: '1.12.6', server: '1.12.6', api: '1.24', architecture: 'arm64' });
  });

  it('parses later releases: takes the engine’s version, not containerd’s', () => {
    for (const [release, client] of [
      ['20.10', '20.10.24+dfsg1'],
      ['28.2', '28.2.2'],
    ] as const) {
      const read = parseVersion(golden(`${release}/version.txt`));
      assert.deepEqual(read, { client, server: '20.10.24+dfsg1', api: '1.41', architecture: 'amd64' });
    }
  });

  it('fails without a server, or with a login shell’s words only, and shows what came', () => {
    const [client] = golden('1.6.2/version.txt').split('Server');
    assert.throws(
      () => parseVersion(client ?? ''),
      (error) => error instanceof KatafleetError && error.message.includes('Client version: 1.6.2'),
    );
    assert.throws(() => parseVersion('Welcome!\n'), /expected the client's and the server's versions, got "Welcome!\\n"/);
  });

  it('fails with engine.unreachable when a daemon that shuts down prints empty fields', () => {
    const leaving = golden('1.6.2/version.txt').replace(/^(Server.*|.*\(server\)): .*$/gm, '$1: ');
    assert.match(leaving, /^Server version: \nServer API version: \n/m);
    assert.throws(
      () => parseVersion(leaving),
      (error) => error instanceof KatafleetError && error.code === 'engine.unreachable' && error.retry,
    );
  });

  it('releases compare as numbers', () => {
    const releases = ['1.6.2', '1.7.1', '1.9', '1.10.0-rc1', '1.13.1', '17.03.2-ce', '18.03.1-ce', '18.09.0', '20.10.24+dfsg1', '28.2.2'];
    const read = releases.map(parseRelease);
    assert.deepEqual(
      read.map((release) => since(release, 1, 10)),
      [false, false, false, ...Array<boolean>(7).fill(true)],
    );
    assert.deepEqual(
      read.map((release) => since(release, 18, 9)),
      [...Array<boolean>(7).fill(false), true, true, true],
    );
    assert.throws(() => parseRelease('dev'), KatafleetError);
  });
});

describe('docker info', () => {
  it('parses 1.6.2, with its warnings from stderr', () => {
    const info = parseInfo(golden('1.6.2/info.txt'), golden('1.6.2/info.err'));
    assert.deepEqual(info, {
      name: 'docker16',
      id: 'F3PU:UTGH:I6BX:V7DS:3B7A:VR5A:4APC:H6LO:R2YU:FXZE:SHU6:JZEQ',
      cpus: 2,
      memory: Math.round(23.54 * GiB),
      kernel: '6.18.44',
      storage: 'overlay',
      machine: undefined,
      cgroupVersion: 'unknown',
      seccomp: false,
      swarm: 'inactive',
      runtimes: ['runc'],
      warnings: ['No memory limit support', 'No swap limit support'],
    });
  });

  it('parses later releases', () => {
    for (const release of ['20.10', '28.2']) {
      const info = parseInfo(golden(`${release}/info.txt`), golden(`${release}/info.err`));
      assert.deepEqual(
        { ...info, warnings: info.warnings.length },
        {
          name: 'h2',
          id: 'F3PU:UTGH:I6BX:V7DS:3B7A:VR5A:4APC:H6LO:R2YU:FXZE:SHU6:JZEQ',
          cpus: 2,
          memory: Math.round(23.54 * GiB),
          kernel: '6.1.0-13-amd64',
          storage: 'overlay2',
          machine: 'x86_64',
          cgroupVersion: '1',
          seccomp: true,
          swarm: 'inactive',
          runtimes: ['runc'],
          warnings: 1,
        },
      );
    }
  });

  it('finds a swarm’s manager and worker, and security options on one line', () => {
    const text = (manager: boolean) =>
      `Swarm: active\n NodeID: x\n Is Manager: ${manager}\nSecurity Options: apparmor seccomp\nCPUs: 4\nTotal Memory: 1.95 GiB\nName: n\n`;
    assert.deepEqual([parseInfo(text(true), '').swarm, parseInfo(text(false), '').swarm], ['manager', 'worker']);
    assert.equal(parseInfo(text(true), '').seccomp, true);
  });

  it('decides by its warnings which limits are enforced', () => {
    const version = parseVersion(golden('1.6.2/version.txt'));
    const with_ = (warnings: string) => fingerprint(version, parseInfo(golden('1.6.2/info.txt'), warnings)).enforces;
    assert.deepEqual(with_(''), { memory: true, swap: true, pids: true, cpu: false });
    assert.deepEqual(with_('WARNING: No swap limit support\n'), { memory: true, swap: false, pids: true, cpu: false });
    assert.deepEqual(with_(golden('1.6.2/info.err')), { memory: false, swap: false, pids: true, cpu: false });
  });
});

describe('docker images', () => {
  it('parses 1.6.2: names with a port, no name, several names, ages of several words', () => {
    assert.deepEqual(parseImages(golden('1.6.2/images.txt')), [
      { id: 'sha256:33586c9151cf0b5f9d1d1a6cf1c1b3a6f4f5d32549f6d2171b89be7937a35841', tags: ['be:latest', 'be:2'], size: 596_100_000 },
      { id: 'sha256:23026633ce1edef0b587dce1c43b92f99177d3604577397c4e62b51c65e83542', tags: [], size: 0 },
      {
        id: 'sha256:411763d627cc0f4bb91b6b72a75fd4cb0078407d758f3ff7163ea4c895a83ec8',
        tags: ['registry.example:5000/team/long-name-of-an-image:v1.0'],
        size: 117_400_000,
      },
    ]);
  });

  it('parses later releases', () => {
    for (const release of ['20.10', '28.2']) {
      const images = parseImages(golden(`${release}/images.txt`));
      assert.equal(images.length, 6);
      const debian = images.find(({ tags }) => tags.includes('katafleet/debian:bookworm'));
      assert.deepEqual(debian, {
        id: 'sha256:411763d627cc0f4bb91b6b72a75fd4cb0078407d758f3ff7163ea4c895a83ec8',
        tags: ['katafleet/debian:bookworm'],
        size: 117_000_000,
      });
    }
  });

  it('returns an empty list for no image, and fails without a table', () => {
    const [head] = golden('1.6.2/images.txt').split('\n');
    assert.deepEqual(parseImages(`${head ?? ''}\n`), []);
    assert.throws(() => parseImages(''), KatafleetError);
    assert.throws(() => parseImages(`${head ?? ''}\nbe   latest   short\n`), /expected a line with a whole id/);
  });

  it('reads sizes as decimal and memory as binary, like docker', () => {
    assert.deepEqual(['596.1 MB', '532MB', '1.5 GB', '763 kB', '0 B', '23.54 GiB', '512 MiB', 'much', ''].map(shownBytes), [
      596_100_000,
      532_000_000,
      1_500_000_000,
      763_000,
      0,
      Math.round(23.54 * GiB),
      512 * 1024 ** 2,
      undefined,
      undefined,
    ]);
  });
});

describe('docker ps and inspect', () => {
  it('refuse ids that are cut', () => {
    const id = '33586c9151cf0b5f9d1d1a6cf1c1b3a6f4f5d32549f6d2171b89be7937a35841';
    assert.deepEqual(parseIds(`${id}\n${id}\n`), [id, id]);
    assert.deepEqual(parseIds(''), []);
    assert.throws(() => parseIds('33586c9151cf\n'), KatafleetError);
  });

  it('tell containers from images, in the forms of 1.6.2 and 20.10', () => {
    for (const release of ['1.6.2', '20.10']) {
      const { containers, images } = parseInspect(golden(`${release}/inspect.json`));
      const [container] = containers;
      assert.deepEqual(
        [containers.length, container?.name, container?.running, container?.exitCode, container?.oomKilled],
        [1, 'katafleet-golden-1', true, 0, false],
      );
      assert.equal(decodeValue(container?.labels['katafleet.owner'] ?? ''), 'a/pid:[1]');
      const [image] = images;
      assert.deepEqual([images.length, image?.architecture, image?.volumes, image?.labels], [1, 'amd64', [], {}]);
      assert.equal(typeof image?.config, 'object');
      assert.equal(image?.id, 'sha256:411763d627cc0f4bb91b6b72a75fd4cb0078407d758f3ff7163ea4c895a83ec8');
    }
  });

  it('return an empty array when nothing was found, and fail without JSON', () => {
    for (const nothing of ['[]', '[]\n', '']) assert.deepEqual(parseInspect(nothing), { containers: [], images: [] });
    for (const bad of ['{}', '[{"Id":1}]', 'null', '[', '[{"State":{}}]']) assert.throws(() => parseInspect(bad), KatafleetError);
  });
});

describe('any bytes that a node answers', () => {
  const lines = fc.array(
    fc.oneof(
      fc.string(),
      fc.constantFrom(
        ...['version', 'info', 'images'].flatMap((what) =>
          ['1.6.2', '28.2'].flatMap((release) => golden(`${release}/${what}.txt`).split('\n')),
        ),
      ),
    ),
    { maxLength: 30 },
  );
  const answers = fc.oneof(
    fc.string(),
    lines.map((all) => all.join('\n')),
    fc.json().map(String),
  );
  const only = (parse: (text: string) => unknown) =>
    fc.assert(
      fc.property(answers, (text) => {
        try {
          parse(text);
        } catch (error) {
          assert.ok(error instanceof KatafleetError, String(error));
          assert.equal(error.code, 'engine.failed');
        }
      }),
      { numRuns: 500 },
    );

  it('are parsed, or fail with a code', () => {
    only(parseVersion);
    only((text) => parseInfo(text, text));
    only(parseImages);
    only(parseIds);
    only(parseInspect);
    only(parseRelease);
  });

  it('decode labels to the values that were encoded', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (value) => {
        const encoded = encodeValue(value);
        assert.match(encoded, /^[A-Za-z0-9_./:=,@%+-]*$/);
        assert.equal(decodeValue(encoded), value);
      }),
    );
    assert.equal(decodeValue('100%'), '100%');
  });
});
