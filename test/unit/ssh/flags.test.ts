import assert from 'node:assert/strict';
import fc from 'fast-check';
import { profileOf, sandboxLimits } from '../../../src/model/profile.ts';
import { containerName, memoryOf } from '../../../src/drivers/docker/container-name.ts';
import { imageWord, runWords } from '../../../src/drivers/ssh/flags.ts';
import { type Release, since } from '../../../src/drivers/ssh/parse/version.ts';
import type { SandboxSpec } from '../../../src/drivers/contract.ts';

const id = `sha256:${'ab'.repeat(32)}`;
const releases: Release[] = (
  ['1.6.2', '1.7.1', '1.8.3', '1.9.1', '1.10.3', '1.11.2', '1.12.6', '1.13.1', '17.3.2', '18.3.1', '18.9.9', '20.10.24', '28.2.2'] as const
).map((text) => text.split('.').map(Number) as unknown as Release);

const specs: fc.Arbitrary<SandboxSpec> = fc.record({
  name: fc.uuid().chain((uuid) => fc.nat().map((number) => `${uuid}/${number}`)),
  image: fc.constant({ name: 'any', id, volumes: [] }),
  limits: fc
    .record({
      memory: fc.integer({ min: 16 * 1024 ** 2, max: 2 ** 40 }),
      cpus: fc.double({ min: 0.05, max: 64, noNaN: true }),
      pids: fc.integer({ min: 4, max: 32_768 }),
    })
    .map((fields) => sandboxLimits(profileOf(fields))),
  labels: fc.dictionary(fc.constantFrom('katafleet.role', 'katafleet.owner', 'katafleet.test'), fc.string({ unit: 'binary' })),
  idleMs: fc.integer({ min: 1, max: 2 ** 31 }),
});

describe('ssh: the words of docker run', () => {
  it('have every mandatory limit, in the same order for each release', () => {
    fc.assert(
      fc.property(specs, fc.constantFrom(...releases), fc.boolean(), (spec, release, bind) => {
        const path = '/usr/local/lib/katafleet/supervisor';
        const words = runWords(spec, { release, installedSupervisor: bind ? path : undefined });
        const line = words.join(' ');
        const memory = String(spec.limits.memory);
        for (const word of words) assert.match(word, /^[A-Za-z0-9_./:=,@%+-]+$/);
        const mandatory = [
          `docker run -i --name ${containerName(spec.name, spec.limits.memory)} -m ${memory} --memory-swap ${memory} -c `,
          ' --ulimit core=1:1 --ulimit nofile=1024:1024 --net none -h sandbox ',
          ' --read-only -u 0:0 -w / --cap-drop ALL ',
          ' --cap-add SETUID --cap-add SETGID --cap-add SETPCAP --cap-add KILL --cap-add CHOWN --cap-add FOWNER --cap-add DAC_OVERRIDE ',
          ' -v /sandbox -v /tmp ',
          ' --log-driver none ',
          ` --entrypoint /.katafleet/supervisor ${imageWord(id, release)} --lifetime ${spec.idleMs}`,
        ];
        const places = mandatory.map((part) => line.indexOf(part));
        assert.ok(
          places.every((place, index) => place >= 0 && place > (places[index - 1] ?? -1)),
          `${line}: ${places.join()}`,
        );
        assert.equal(line.includes(`-v ${path}:/.katafleet/supervisor:ro`), bind);
        assert.ok(!/--(rm|privileged|pid|ipc|device|volumes-from)\b/.test(line));
      }),
    );
  });

  it('have only options that the release knows; the supervisor’s options replace the missing ones', () => {
    const [spec] = fc.sample(specs, 1);
    assert.ok(spec);
    for (const release of releases) {
      const words = runWords(spec, { release });
      const engine = words.slice(0, words.indexOf('--entrypoint'));
      const supervisor = words.slice(words.indexOf('--lifetime'));
      assert.equal(engine.includes('--pids-limit'), since(release, 1, 11));
      assert.equal(engine.includes('no-new-privileges'), since(release, 1, 11));
      assert.equal(engine.filter((word) => word === '--tmpfs').length, since(release, 1, 10) ? 2 : 0);
      assert.equal(engine.includes('SYS_ADMIN'), !since(release, 1, 10));
      assert.equal(supervisor.filter((word) => word === '--tmpfs').length, since(release, 1, 10) ? 0 : 2);
      assert.equal(words.includes('ab'.repeat(32)), !since(release, 1, 10));
      // Who mounts the folders writes hosts and resolv.conf, and gives /dev/shm its size.
      assert.equal(engine.join(' ').includes('--add-host sandbox:127.0.0.1 --dns 127.0.0.1 --dns-search .'), since(release, 1, 10));
      const shm: string = String(spec.limits.shm);
      assert.equal(engine[engine.indexOf('--shm-size') + 1] === shm, since(release, 1, 10));
      assert.equal(supervisor[supervisor.indexOf('--shm') + 1] === shm, !since(release, 1, 10));
    }
  });

  it('leave /dev/shm out for a profile without it, if the release can', () => {
    const [spec] = fc.sample(specs, 1);
    assert.ok(spec);
    const without = { ...spec, limits: { ...spec.limits, shm: 0 } };
    for (const release of releases) {
      const line = runWords(without, { release }).join(' ');
      assert.equal(line.includes(' --ipc none '), since(release, 17, 12), release.join('.'));
      assert.equal(line.includes(' --shm-size 4096 '), since(release, 1, 10) && !since(release, 17, 12), release.join('.'));
      assert.equal(/ --shm 0$/.test(line), !since(release, 1, 10), release.join('.'));
    }
  });

  it('have no swap limit where the kernel has no memory limits, because old engines refuse it', () => {
    const [spec] = fc.sample(specs, 1);
    assert.ok(spec);
    const words = runWords(spec, { release: [1, 6, 2], limitsMemory: false });
    assert.deepEqual(words, runWords(spec, { release: [1, 6, 2] }).toSpliced(7, 2));
    assert.deepEqual([words[5], words.includes('--memory-swap')], ['-m', false]);
  });

  it('have only flags that 1.6.2 knows, for 1.6.2', () => {
    const known = ['-i', '--name', '-m', '--memory-swap', '-c', '--ulimit', '--net', '--read-only', '-u', '-w', '--cap-drop', '--cap-add'];
    known.push('-v', '--log-driver', '-l', '--entrypoint', '-h');
    fc.assert(
      fc.property(specs, (spec) => {
        const words = runWords(spec, { release: [1, 6, 2] });
        const flags = words.slice(2, words.indexOf('ab'.repeat(32))).filter((word) => word.startsWith('-'));
        assert.deepEqual(
          flags.filter((flag) => !known.includes(flag)),
          [],
        );
      }),
    );
  });

  it('name a container after its sandbox', () => {
    const name = containerName('0f6c2a50-8c5b-4df2-9a3e-aa00bb11cc22/17', 536870912);
    assert.equal(name, 'katafleet-0f6c2a50-8c5b-4df2-9a3e-aa00bb11cc22-17-m536870912');
    assert.match(containerName('Weird Name;$(x)', 1), /^katafleet-[a-z0-9-]{1,80}$/);
    assert.deepEqual([memoryOf({}, name), memoryOf({}, `/${name}`)], [536870912, 536870912]);
    assert.equal(memoryOf({}, 'katafleet-0f6c2a50-8c5b-4df2-9a3e-aa00bb11cc22-17'), undefined, 'of an older katafleet');
    assert.deepEqual([memoryOf({ 'katafleet.memory': '1024' }, name), memoryOf({ 'katafleet.memory': '-1' })], [1024, undefined]);
  });
});
