import assert from 'node:assert/strict';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { capabilities as ofSandboxes } from '../../src/drivers/docker/isolation.ts';
import { ConversationLost } from '../../src/protocol/conversation.ts';
import type { SandboxFile } from '../../src/model/request.ts';
import { staticProgram } from '../support/compile.ts';
import { capabilities, file, PipedSupervisor, user } from '../support/supervisor.ts';

const MiB = 1024 * 1024;
const abilities = { netns: 16, tmpfs: 32, watches: 64 };
/** A mount namespace of its own, so that what is mounted there is nowhere else. */
const mayMount = ['unshare', '--mount', '--propagation', 'private'];
/** With the capabilities of a sandbox and no others: what CAP_SYS_PTRACE would let it see, it does not see there. */
const mayNotMount = ['setpriv', '--bounding-set', ['-all', ...ofSandboxes.map((name) => `+${name.toLowerCase()}`)].join(',')];

describe('supervisor: bounded folders', () => {
  before(function () {
    if (process.getuid?.() !== 0) this.skip(); // mounting and giving files away is root's
  });

  describe('where it may mount', () => {
    it('mounts a tmpfs on each before it greets, owned by the user from OPEN on, of the size that was asked', async () => {
      await using supervisor = await PipedSupervisor.bounded(8 * MiB, mayMount, '--tmpfs', `/tmp=${4 * MiB}`);
      const { abilities: bits } = await supervisor.conversation.hello();
      assert.equal(bits & (abilities.tmpfs | abilities.watches), abilities.tmpfs);
      await supervisor.begin();
      const result = await supervisor.run([
        'sh',
        '-c',
        'for at in . /tmp; do stat -f -c "%T %b" $at; stat -c "%a %u:%g" $at; df --output=itotal $at | tail -n 1; done; touch here /tmp/here && echo writable',
      ]);
      assert.deepEqual(result.stdout.toString().split(/\s+/).filter(Boolean), [
        ...['tmpfs', '2048', '755', `${user.uid}:${user.gid}`, '1025'],
        ...['tmpfs', '1024', '1777', '0:0', '513', 'writable'],
      ]);
      assert.deepEqual(await readdir(supervisor.folder), [], 'the folder below the tmpfs stays as it was');
    });

    it('a program that fills it is told so and goes on; files that do not fit are refused', async () => {
      await using supervisor = await (await PipedSupervisor.bounded(4 * MiB, mayMount)).open();
      const result = await supervisor.run(['sh', '-c', 'head -c 9000000 /dev/zero > big; echo "$?"; stat -c %s big']);
      assert.match(result.stderr.toString(), /No space left/);
      assert.equal(result.stdout.toString(), `1\n${4 * MiB}\n`);
      assert.deepEqual(result.outcome, { kind: 'exited', code: 0 });
      assert.equal(await refusal(supervisor, file('more', Buffer.alloc(MiB))), 'no_space');
    });

    it('mounts nosuid and nodev, and drops the capability for this for good, for itself and for its steps', async () => {
      await using supervisor = await PipedSupervisor.bounded(MiB, mayMount);
      const { abilities: bits } = await supervisor.conversation.hello();
      assert.equal(bits & abilities.netns, 0, 'it no longer says that it can make namespaces');
      const sets = await capabilities(supervisor.child.pid);
      assert.equal(sets.size, 5);
      for (const [name, value] of sets) assert.equal((value >> 21n) & 1n, 0n, `CAP_SYS_ADMIN is in the supervisor's ${name}`);
      assert.notEqual(sets.get('CapEff'), 0n, 'it keeps the others');
      await supervisor.begin();
      const result = await supervisor.run([
        'sh',
        '-c',
        `grep " $PWD " /proc/mounts; grep ^Cap /proc/self/status; mount -t tmpfs none /mnt; umount "$PWD"; mount -o remount,suid "$PWD"; unshare --mount true`,
      ]);
      const [mount = '', ...status] = result.stdout.toString().trim().split('\n');
      assert.match(mount, /^katafleet \S+ tmpfs rw,nosuid,nodev,relatime,size=1024k,nr_inodes=129/);
      assert.equal(status.filter((line) => /^Cap\w+:\t0+$/.test(line)).length, 5);
      const errors = result.stderr.toString().trim().split('\n');
      assert.equal(errors.filter((line) => /permission denied|not permitted|must be superuser/i.test(line)).length, 4, errors.join());
    });
  });

  describe('where it may not mount', () => {
    it('says that it watches instead, and a step within its bound ends as ever', async () => {
      await using supervisor = await PipedSupervisor.bounded(8 * MiB, mayNotMount);
      const { abilities: bits } = await supervisor.conversation.hello();
      assert.equal(bits & (abilities.tmpfs | abilities.watches), abilities.watches);
      await supervisor.begin();
      const result = await supervisor.run(['sh', '-c', 'head -c 6000000 /dev/zero > fits; truncate -s 1G sparse; exit 3']);
      assert.deepEqual(result.outcome, { kind: 'exited', code: 3 });
      assert.equal((await stat(join(supervisor.folder, 'fits'))).uid, user.uid);
    });

    it('ends a step that goes on writing, and keeps what it printed', async () => {
      await using supervisor = await (await PipedSupervisor.bounded(8 * MiB, mayNotMount)).open();
      const result = await supervisor.run(['sh', '-c', 'echo before; head -c 9000000 /dev/zero > big; sleep 1006'], {
        limits: { wallMs: 50_000 },
      });
      assert.deepEqual([result.outcome, result.stdout.toString()], [{ kind: 'out_of_disk' }, 'before\n']);
    });

    it('reports a step that wrote too much even if it exited before the check', async () => {
      await using supervisor = await (await PipedSupervisor.bounded(2 * MiB, mayNotMount)).open();
      const result = await supervisor.run(['sh', '-c', 'mkdir -p a/b; head -c 3000000 /dev/zero > a/b/big']);
      assert.deepEqual(result.outcome, { kind: 'out_of_disk' });
      const tidied = await supervisor.run(['rm', '-r', 'a']);
      assert.deepEqual(tidied.outcome, { kind: 'exited', code: 0 }, 'what is deleted is free again');
    });

    it('many empty files and folders, links and depth hide nothing and take no long walk', async () => {
      for (const [script, kind] of [
        ['i=0; while [ $i -lt 400 ]; do : > f$i; i=$((i+1)); done', 'out_of_disk'],
        ['i=0; while [ $i -lt 140 ]; do mkdir d && cd d || exit; i=$((i+1)); done', 'out_of_disk'],
        ['head -c 900000 /dev/zero > one; for i in 2 3 4 5; do ln one n$i; done', 'exited'],
        ['ln -s / all; ln -s .. up; mkdir d; ln -s .. d/up', 'exited'],
      ] as const) {
        await using supervisor = await (await PipedSupervisor.bounded(2 * MiB, mayNotMount)).open();
        assert.equal((await supervisor.run(['sh', '-c', script])).outcome.kind, kind, script);
      }
    });

    it('counts deleted files that a program keeps open, once each, however many processes share them', async () => {
      for (const [held, kind] of [
        ['./evil hold 3 4 & wait', 'out_of_disk'],
        ['exec 3>one; rm one; head -c 5000000 /dev/zero >&3; for i in 1 2 3 4 5; do sleep 1 & done; wait', 'exited'],
      ] as const) {
        await using supervisor = await (await PipedSupervisor.bounded(8 * MiB, mayNotMount)).open();
        await supervisor.files(file('evil', await staticProgram('evil'), undefined, 0o755));
        const result = await supervisor.run(['sh', '-c', held], { limits: { wallMs: 20_000 } });
        assert.equal(result.outcome.kind, kind, held);
      }
    });

    it('where a program hides what it holds, ends it only as the disk runs out', async () => {
      const small = (bytes: number) => [
        ...['unshare', '--mount', '--propagation', 'private', 'sh', '-c'],
        `mount -t tmpfs -o size=${bytes} none "$6" && exec "$@"`,
        'sh',
        ...mayNotMount,
      ];
      for (const [script, bytes, kind] of [
        ['./evil hold 9 4 hidden', 40 * MiB, 'out_of_disk'],
        ['./evil hold 9 4 hidden > /dev/null & sleep 2; kill $!', 400 * MiB, 'exited'],
      ] as const) {
        await using supervisor = await (await PipedSupervisor.bounded(8 * MiB, small(bytes))).open();
        await supervisor.files(file('evil', await staticProgram('evil'), undefined, 0o755));
        const result = await supervisor.run(['sh', '-c', script], {
          limits: { wallMs: 20_000 },
        });
        assert.equal(result.outcome.kind, kind, `${bytes}`);
      }
    });

    it('lets no step write a file larger than the folder', async () => {
      await using supervisor = await (await PipedSupervisor.bounded(2 * MiB, mayNotMount)).open();
      // Most of it a hole: a step that really fills its folder is ended as soon as that is seen.
      const write = 'dd if=/dev/zero of=big bs=4096 seek=500 count=2000 2>/dev/null';
      const result = await supervisor.run(['sh', '-c', `${write}; ulimit -f; stat -c %s big`]);
      assert.equal(result.stdout.toString(), `${(2 * MiB + 4096) / 512}\n${2 * MiB + 4096}\n`);
    });

    it('files of the host count as well, and a file that replaces another counts once', async () => {
      await using supervisor = await (await PipedSupervisor.bounded(2 * MiB, mayNotMount)).open();
      for (let i = 0; i < 4; i++) {
        await supervisor.files(file('same', Buffer.alloc(MiB, i)));
        assert.deepEqual((await supervisor.run(['true'])).outcome, { kind: 'exited', code: 0 });
      }
      assert.equal(await refusal(supervisor, file('one', Buffer.alloc(MiB)), file('two', Buffer.alloc(MiB))), 'no_space');
    });
  });

  it('takes no other folder, no other form, and none twice', async () => {
    for (const [options, code] of [
      [['--tmpfs', '/etc=1000000'], 1],
      [['--tmpfs', 'tmp=1000000'], 64],
      [['--tmpfs', '/tmp'], 64],
      [['--tmpfs', '/tmp=0'], 64],
      [['--tmpfs', '/tmp=9m'], 64],
      [['--tmpfs', '/tmp=-1'], 64],
      [['--tmpfs', '/tmp=1000000', '--tmpfs', '/tmp=1000000'], 64],
    ] as const) {
      await using supervisor = await PipedSupervisor.bounded(MiB, mayMount, ...options);
      supervisor.stream.resume();
      assert.equal(await supervisor.exit, code, options.join(' '));
    }
  });
});

/** Why the supervisor gives up on files. */
async function refusal(supervisor: PipedSupervisor, ...sent: SandboxFile[]): Promise<string> {
  await supervisor.files(...sent).catch((error: unknown) => {
    if (!(error instanceof ConversationLost)) throw error; // it spoke while it was written to
  });
  const reply = await supervisor.conversation.next();
  return reply.kind === 'fail' ? reply.reason : reply.kind;
}
