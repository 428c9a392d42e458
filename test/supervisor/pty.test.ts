import assert from 'node:assert/strict';
import { watch } from 'node:fs';
import { open } from 'node:fs/promises';
import { capabilities as ofSandboxes } from '../../src/drivers/docker/isolation.ts';
import { staticProgram } from '../support/compile.ts';
import { eventually } from '../support/eventually.ts';
import { file, PipedSupervisor } from '../support/supervisor.ts';

const most = 64;
/** PID 1 of its namespace, without a network, and with pseudo terminals of its own, as an engine gives them. */
const contained = (...last: string[]) => [
  ...['unshare', '--net', '--pid', '--fork', '--kill-child', '--mount-proc', '--propagation', 'private', 'sh', '-c'],
  'mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 devpts /dev/pts && exec "$@"',
  ...['sh', ...last],
];
const mayMount = contained();
const mayNotMount = contained('setpriv', '--bounding-set', ['-all', ...ofSandboxes.map((name) => `+${name.toLowerCase()}`)].join(','));

describe('supervisor: pseudo terminals', function () {
  let evil: Buffer;
  before(async function () {
    if (process.getuid?.() !== 0) this.skip();
    evil = await staticProgram('evil');
  });
  /** How a step ends that takes them, and what it says; one that is not ended at once is ended in time. */
  async function take(under: string[], words: string[], wallMs: number) {
    await using supervisor = await (await PipedSupervisor.under(under)).open();
    await supervisor.files(file('evil', evil, undefined, 0o755));
    const { outcome, stdout, stderr } = await supervisor.run(['./evil', 'terminals', ...words], { limits: { wallMs } });
    const next = await supervisor.run(['./evil', 'terminals', `${most}`], { limits: { wallMs: 3_000 } });
    assert.deepEqual([next.outcome, next.stdout.toString()], [{ kind: 'timed_out', clock: 'wall' }, `held ${most}\n`], 'the next step');
    assert.equal(next.stderr.toString(), '');
    return { outcome, said: stdout.toString(), told: stderr.toString() };
  }

  it('where it may mount, the kernel gives a sandbox no more than 64, and their modes stay', async () => {
    const { outcome, said, told } = await take(mayMount, ['100', '3'], 5_000);
    assert.deepEqual([outcome.kind, said], ['timed_out', `held ${most}\n`]);
    assert.match(told, /^(ptmx: No space left on device\n)+$/);
    await using supervisor = await (await PipedSupervisor.under(mayMount)).open();
    const { stdout } = await supervisor.run(['sh', '-c', 'grep " /dev/pts " /proc/mounts | tail -n 1']);
    assert.match(stdout.toString(), /^devpts \/dev\/pts devpts rw,nosuid,noexec,relatime,gid=5,mode=620,ptmxmode=666,max=64 /);
  });

  it('where it may not, a step that holds more is ended and told why, also when they have no name any more', async () => {
    for (const words of [
      [`${most + 1}`, '1'],
      ['100', '3'],
      ['100', '1', 'hidden'],
    ]) {
      const { outcome, said, told } = await take(mayNotMount, words, 30_000);
      assert.deepEqual(outcome, { kind: 'signalled', signal: 9 }, `${words.join(' ')}: ${said}${told}`);
      assert.equal(told, `katafleet: more than ${most} pseudo terminals at a time\n`);
    }
  });

  it('looks before a step, not in it: a program that has none sees none, whatever the one before has left', async () => {
    await using supervisor = await (await PipedSupervisor.under(mayNotMount)).open();
    await supervisor.files(file('evil', evil, undefined, 0o755));
    const folder = `/proc/${supervisor.child.pid}/root/dev/pts`;
    const seen: string[] = [];
    const watcher = watch(folder, (_, name) => seen.push(String(name)));
    try {
      /** How often the first terminal came or went while these ran. */
      const told = async (...commands: string[]) => {
        for (const command of commands) await supervisor.run(command.split(' '), { limits: { wallMs: 3_000 } });
        // Twelve at a time, more than a step and a look have: when the last of ours is told to come and go, all before it has been.
        const ours = [];
        for (let i = 0; i < 12; i++) ours.push(await open(`${folder}/ptmx`, 'r+'));
        for (const terminal of ours) await terminal.close();
        await eventually('the last is told', 10, async () => assert.equal(seen.filter((name) => name === '11').length, 2));
        return seen.splice(0).filter((name) => name === '0').length;
      };
      const ours = await told();
      assert.equal((await told('true', 'true', 'true')) - ours, 3 * 2);
      assert.equal((await told('./evil terminals 1', 'true')) - ours, 3 * 2, 'its own, and a look before each');
    } finally {
      watcher.close();
    }
  });

  it('leaves terminals alone that are not a container’s own', async () => {
    const machine = mayMount.map((word) => word.replace('ptmxmode=0666', 'ptmxmode=0600'));
    await using supervisor = await (await PipedSupervisor.under(machine)).open();
    const { stdout } = await supervisor.run(['sh', '-c', 'grep " /dev/pts " /proc/mounts | tail -n 1']);
    assert.match(stdout.toString(), /ptmxmode=600 /);
  });
});
