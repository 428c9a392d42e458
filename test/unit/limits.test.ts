import assert from 'node:assert/strict';
import { parseLimits } from '../../src/config/limits.ts';
import { parseConfig } from '../../src/config/parse.ts';
import { KatafleetError } from '../../src/model/errors.ts';
import { limitNames, limitOf, limits } from '../../src/model/limits.ts';
import { poolKey, Profile, ProfileFields, profileOf, sandboxLimits, StepLimits } from '../../src/model/profile.ts';
import { shapeHash, type TaskShape } from '../../src/drivers/swarm/services/service.ts';
import { runWords } from '../../src/drivers/ssh/flags.ts';

const MiB = 1024 ** 2;
const fails = (hint: RegExp, message: RegExp) => (error: unknown) =>
  error instanceof KatafleetError && error.code === 'limits.invalid' && message.test(error.message) && hint.test(error.hint ?? '');

describe('the table of limits', () => {
  it('takes every limit that has bounds at both of them and refuses it beyond', () => {
    for (const name of limitNames) {
      const { min, max, kind } = limitOf(name);
      if (min === undefined || max === undefined) continue;
      const step = kind === 'number' ? 0.01 : 1;
      const taken = [min - step, min, max, max + step].map((value) => Profile.safeParse({ [name]: value }).success);
      assert.deepEqual({ [name]: taken }, { [name]: [false, true, true, false] });
    }
  });

  it('gives a profile the default of every limit that has one', () => {
    const expected = limitNames.flatMap((name) => (limitOf(name).default === undefined ? [] : [[name, limitOf(name).default]]));
    assert.deepEqual(profileOf(), Object.fromEntries(expected));
  });

  it('lets callers say all limits but those of the configuration, and steps their own', () => {
    assert.deepEqual(
      limitNames.filter((name) => !(name in ProfileFields.shape)),
      ['network'],
    );
    assert.deepEqual(Object.keys(StepLimits.shape), ['wallMs', 'cpuMs', 'stdout', 'stderr']);
    assert.ok(!ProfileFields.safeParse({ network: 'class' }).success);
  });

  it('lets the configuration say every limit', () => {
    const said: Record<string, unknown> = { network: 'class', dial: 'overlay' };
    for (const name of limitNames) said[name] ??= limitOf(name).max;
    const text = `nodes: [{ name: a, endpoint: 'unix:///a' }]\nprofiles: { all: ${JSON.stringify(said)} }\n`;
    assert.deepEqual(parseConfig(text, 'x').value.profiles['all'], said);
  });
});

describe('a limit that does not shape the container', () => {
  const shape = (fields: Parameters<typeof profileOf>[0]): TaskShape => ({
    ...{ image: 'i', architecture: 'amd64', volumes: [], way: 'host', address: 'a:1', supervisor: 's', idleMs: 1, generation: '0' },
    limits: sandboxLimits(profileOf(fields)),
    appArmor: false,
  });
  /** Every limit that acts elsewhere, with a value that is not its default. */
  const differing = Object.fromEntries(
    limitNames.flatMap((name) => {
      const { at, min, max, default: byItself } = limitOf(name);
      return at === 'container' ? [] : [[name, min === byItself ? max : min]];
    }),
  );

  it('splits neither warm pools nor the services of a swarm', () => {
    for (const name of ['fileSize', 'stack', 'openFiles', 'wallMs', 'bytesBack']) assert.ok(name in differing, name);
    for (const fields of [...Object.entries(differing).map(([name, value]) => ({ [name]: value })), differing]) {
      assert.equal(poolKey('i', sandboxLimits(profileOf(fields))), poolKey('i', sandboxLimits(profileOf())), JSON.stringify(fields));
      assert.equal(shapeHash(shape(fields)), shapeHash(shape({})), JSON.stringify(fields));
    }
  });

  it('leaves those that shape it apart', () => {
    for (const fields of [{ memory: 64 * MiB }, { cpus: 2 }, { pids: 9 }, { shm: 0 }, { dial: 'overlay' as const }, { network: 'n' }])
      assert.notEqual(poolKey('i', sandboxLimits(profileOf(fields))), poolKey('i', sandboxLimits(profileOf())), JSON.stringify(fields));
  });

  it('has its container admit more open files only where a run asks for more than every container has', () => {
    const words = (openFiles: number) =>
      runWords(
        {
          image: { name: 'i', id: 'sha256:00', volumes: [] },
          limits: sandboxLimits(profileOf({ openFiles })),
          labels: {},
          name: 'n',
          idleMs: 1,
        },
        { release: [1, 13, 1] },
      );
    const admitted = (openFiles: number) => words(openFiles).find((word) => word.startsWith('nofile='));
    assert.deepEqual([16, 1_024, 1_025, limits.openFiles.max].map(admitted), [
      'nofile=1024:1024',
      'nofile=1024:1024',
      'nofile=2048:2048',
      'nofile=1048576:1048576',
    ]);
  });
});

describe('limits that are said as NAME=VALUE', () => {
  it('take the units of the configuration, and the last of the same name holds', () => {
    assert.deepEqual(parseLimits(['memory=1g', 'wallMs=500ms', 'openFiles=64', 'cpus=0.5', 'wallMs=2000', 'shm=0', 'dial=overlay']), {
      ...{ memory: 1024 * MiB, wallMs: 2_000, openFiles: 64, cpus: 0.5, shm: 0 },
      dial: 'overlay',
    });
  });

  it('fail with the near name and all names where the name is unknown', () => {
    assert.throws(() => parseLimits(['memroy=1g']), fails(/memory, cpus, .*stack, .*dial/, /no limit "memroy".*did you mean memory\?/));
    assert.throws(() => parseLimits(['toString=1']), fails(/memory, cpus/, /no limit "toString"$/));
  });

  it('fail with what was expected where the value does not do', () => {
    assert.throws(() => parseLimits(['memory=1k']), fails(/^$/, /memory: expected a size from 16 MiB to/));
    assert.throws(() => parseLimits(['openFiles=many']), fails(/^$/, /^openFiles: /));
    for (const text of ['stack', 'stack=', 'pids=4.5', 'dial=moon', 'cpus=-1'])
      assert.throws(() => parseLimits([text]), fails(/^$/, new RegExp(text.slice(0, 4))), text);
  });

  it('fail with the reason where only the configuration may give the limit', () => {
    assert.throws(() => parseLimits(['network=class']), fails(/--profile/, /the limit network can only be set in the configuration: /));
  });
});
