import assert from 'node:assert/strict';
import { type Profile, profileOf, sandboxLimits } from '../../src/model/profile.ts';
import { parseApiVersion } from '../../src/drivers/docker/version.ts';
import { EngineDriver } from '../../src/drivers/engine/driver.ts';
import { startSandbox } from '../../src/drivers/engine/sandbox.ts';
import type { Katafleet } from '../../src/app/library.ts';
import { Conversation } from '../../src/protocol/conversation.ts';
import { staticProgram } from '../support/compile.ts';
import { endpoint, stdout, testFleet } from '../support/fleet.ts';
import { file } from '../support/supervisor.ts';

const MiB = 1024 * 1024;

describe('a program against its supervisor, in real containers', () => {
  let fleet: Katafleet;
  let evil: Buffer;
  before(async () => {
    fleet = testFleet();
    evil = await staticProgram('evil');
  });
  after(() => fleet.close());

  /** The evil program with each of these arguments, one step after another, and what it wrote. */
  const run = (profile: Partial<Profile>, ...steps: string[]) =>
    fleet.run({
      image: 'build-essential',
      files: [file('evil', evil, undefined, 0o755)],
      steps: steps.map((step) => ({ argv: ['bash', '-c', step] })),
      profile: { memory: 64 * MiB, ...profile },
    });

  it('the kernel ends the program for memory and not the supervisor, although it takes its mark back', async () => {
    const result = await run({}, 'echo kept > result; exec ./evil hog', 'echo next');
    assert.deepEqual(
      result.steps.map(({ outcome, stdout: said }) => [outcome.kind, said.toString()]),
      [
        ['out_of_memory', 'mark: Permission denied\n'],
        ['exited', 'next\n'],
      ],
    );
    assert.deepEqual(
      result.changes.files.map(({ path }) => path),
      ['result'],
    );
  });

  it('an engine that can’t give the capability for that mark is asked once, and its sandboxes work without', async () => {
    const driver = new EngineDriver({ endpoint });
    const [found, image] = [await driver.probe(), await driver.prepare('build-essential')];
    const tries = { loopback6: true, mark: true };
    const node = { docker: await driver.client(), api: parseApiVersion(found.apiVersion), endpoint, name: found.node, tries };
    const labels = { 'katafleet.role': 'sandbox', 'katafleet.test': 'mark' };
    const sandbox = await startSandbox(node, { image, limits: sandboxLimits(profileOf()), labels, name: 'mark', idleMs: 60_000 });
    try {
      const { abilities } = await new Conversation(sandbox.stream).hello();
      const { HostConfig } = await node.docker.getContainer(sandbox.id).inspect();
      assert.equal(String(HostConfig.CapAdd).includes('SYS_RESOURCE'), node.tries.mark);
      assert.notEqual(abilities & 1024, 0, 'this kernel has Landlock, or the engine has given it');
    } finally {
      await sandbox.remove();
      driver.close();
    }
  });

  it('what System V keeps of a step’s memory is gone before the next one, and what changed comes back', async () => {
    const count = 'for at in shm sem msg; do tail -n +2 /proc/sysvipc/$at; done | wc -l';
    const result = await run({ shm: MiB }, `./evil leave 5; ${count}`, count, 'echo kept > result; exec ./evil leave 200', 'echo next');
    assert.deepEqual(
      result.steps.map(({ outcome, stdout: said }) => [outcome.kind, said.toString()]),
      [
        ['exited', '20\n'],
        ['exited', '0\n'],
        ['out_of_memory', ''],
        ['exited', 'next\n'],
      ],
    );
    assert.deepEqual(
      result.changes.files.map(({ path }) => path),
      ['result'],
    );
  });

  it('without shared memory there is no System V IPC; cores and nice values are the supervisor’s to say', async () => {
    const result = await run(
      { shm: 0 },
      './evil leave 1',
      'nice; grep -E "core|msgqueue" /proc/self/limits',
      'tr "\\0" " " < /proc/1/cmdline',
    );
    assert.deepEqual(result.steps[0]?.outcome, { kind: 'exited', code: 1 });
    const [, limits, commandLine] = result.steps.map((step) => step.stdout.toString().replace(/ +/g, ' ').replace(/ $/gm, '').trim());
    assert.equal(limits, '10\nMax core file size 1 1 bytes\nMax msgqueue size 0 0 bytes');
    assert.equal(commandLine, '/.katafleet/supervisor');
  });

  it('a program that takes more pseudo terminals than a sandbox may have is ended and told why; one that takes a few is not', async () => {
    const result = await run({}, './evil terminals 3000 4', 'script -qc "echo in a terminal" /dev/null', 'ls /dev/pts');
    assert.deepEqual(
      result.steps.map(({ outcome, stdout: said, stderr }) => [outcome, said.toString(), stderr.toString()]),
      [
        [{ kind: 'signalled', signal: 9 }, result.steps[0]?.stdout.toString(), 'katafleet: more than 64 pseudo terminals at a time\n'],
        [{ kind: 'exited', code: 0 }, 'in a terminal\r\n', ''],
        [{ kind: 'exited', code: 0 }, 'ptmx\n', ''],
      ],
    );
  });

  it('files move between folders, and the standard streams, /tmp and devices can be written by name', async () => {
    const script =
      'mkdir a b; echo x > a/x; mv a b/; ln b/a/x y; echo t > /tmp/t; echo n > /dev/null; echo out > /dev/stdout; cat b/a/x y /tmp/t';
    const result = await run({}, script, 'echo more > f; exec 3<>f; rm f; echo held > /proc/self/fd/3; cat /proc/self/fd/3');
    assert.equal(stdout(result), 'out\nx\nx\nt\nheld\n');
  });
});
