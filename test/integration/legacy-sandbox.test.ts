import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { chmod, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Duplex } from 'node:stream';
import { promisify } from 'node:util';
import { profileOf } from '../../src/model/profile.ts';
import { Step, type StepInput } from '../../src/model/request.ts';
import type { StepResult } from '../../src/model/result.ts';
import { supervisorFile } from '../../src/drivers/docker/supervisor.ts';
import { Conversation } from '../../src/protocol/conversation.ts';
import { encodeOpen } from '../../src/protocol/requests.ts';
import { executeStep } from '../../src/runs/attempt/execute.ts';
import { upload } from '../../src/runs/attempt/upload.ts';
import { endpoint } from '../support/fleet.ts';
import { file } from '../support/supervisor.ts';

const docker = (...words: string[]) => promisify(execFile)('docker', ['-H', endpoint, ...words]);
const MiB = 1024 * 1024;
const image = 'katafleet/build-essential:latest';
const abilities = { oom: 2, cpu: 4, peak: 8, netns: 16, tmpfs: 32, watches: 64 };
const supervisorSources = dirname(dirname(dirname(supervisorFile('amd64'))));
let serial = 0;

/**
 * A sandbox as a node with Docker 1.6 gets it: `docker run -i`, and only flags that 1.6 has, the extra ones aside. As there,
 * no control groups are shown in it.
 */
class LegacySandbox {
  readonly name = `katafleet-test-legacy-${process.pid}-${(serial += 1)}`;
  readonly uid = 2_000_000_000 + serial;
  readonly conversation: Conversation;
  #step = 0;

  constructor(extra: readonly string[] = [], supervisor = supervisorFile('amd64')) {
    const capabilities = ['SETUID', 'SETGID', 'SETPCAP', 'KILL', 'CHOWN', 'FOWNER', 'DAC_OVERRIDE'];
    const child = spawn('docker', [
      ...['-H', endpoint, 'run', '-i', '--name', this.name, '-m', String(256 * MiB), '--memory-swap', String(256 * MiB), '-c', '1024'],
      ...['--ulimit', 'core=1:1', '--ulimit', 'nofile=1024:1024', '--net', 'none', '--read-only', '-u', '0:0', '-w', '/'],
      ...['--tmpfs', '/sys/fs/cgroup:ro,size=4k'],
      ...['--cap-drop', 'ALL', ...capabilities.flatMap((name) => ['--cap-add', name]), ...extra],
      ...['-v', '/sandbox', '-v', '/tmp', '-v', `${supervisor}:/.katafleet/supervisor:ro`, '--log-driver', 'none'],
      ...['-l', 'katafleet.role=sandbox', '--entrypoint', '/.katafleet/supervisor', image],
      ...['--lifetime', '60000', '--tmpfs', `/sandbox=${32 * MiB}`, '--tmpfs', `/tmp=${16 * MiB}`],
    ]);
    child.on('close', () => undefined);
    this.conversation = new Conversation(Duplex.from({ readable: child.stdout, writable: child.stdin }));
  }

  /** Its abilities. */
  async open(): Promise<number> {
    const { abilities: bits } = await this.conversation.hello();
    const { filesBack, fileBack, bytesBack } = profileOf({});
    await this.conversation.send(encodeOpen({ uid: this.uid, gid: this.uid, lifetimeMs: 60_000, filesBack, fileBack, bytesBack }));
    await upload(this.conversation, { remove: [], files: [file('given', 'x')], folders: [] });
    return bits;
  }

  sh(script: string, step: Omit<StepInput, 'argv'> = {}, processes = 0): Promise<StepResult> {
    this.#step += 1;
    const parsed = Step.parse({ argv: ['bash', '-c', script], ...step });
    return executeStep(this.conversation, this.#step, parsed, profileOf({}), { collect: false, processes });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await docker('rm', '-f', '-v', this.name);
  }
}

describe('a sandbox on an engine without --tmpfs and without a pids limit', function () {
  if (process.arch !== 'x64') return; // Docker 1.6 ran on nothing else

  for (const extra of [['--cap-add', 'SYS_ADMIN'], []]) {
    const mounts = extra.length > 0;
    describe(mounts ? 'where the supervisor may mount' : 'where it may not', () => {
      it('has two writable folders, the user’s own files and a home, under a uid of its own', async () => {
        await using sandbox = new LegacySandbox(extra);
        const bits = await sandbox.open();
        assert.equal(bits & (abilities.netns | abilities.tmpfs | abilities.watches), mounts ? abilities.tmpfs : abilities.watches);
        const result = await sandbox.sh(
          `id -u; id -G; stat -c '%n %a %u' . given /tmp; echo "$HOME"; touch new "$HOME/new" && stat -c %u new; cp /bin/true . && ./true && echo ran
           for dir in $(awk '{print $2}' /proc/mounts | sort -u); do case $dir in /proc*|/sys*|/dev*) ;; *) test -d "$dir" && touch "$dir/probe" 2>/dev/null && echo "wrote $dir" ;; esac; done`,
        );
        const { uid } = sandbox;
        const expected = [
          uid,
          uid,
          `. 755 ${uid}`,
          `given 644 ${uid}`,
          '/tmp 1777 0',
          '/tmp',
          uid,
          'ran',
          'wrote /sandbox',
          'wrote /tmp',
          '',
        ];
        assert.equal(result.stdout.toString(), expected.join('\n'));
      });

      it(`${mounts ? 'reads' : 'can’t read'} its control group, of which the program sees nothing`, async () => {
        await using sandbox = new LegacySandbox(extra);
        const counters = abilities.oom | abilities.cpu | abilities.peak;
        assert.equal((await sandbox.open()) & counters, mounts ? counters : 0);
        const seen = await sandbox.sh(
          'ls -A /sys/fs/cgroup; grep -c cgroup2* /proc/mounts; ls /proc/self/fd; ls /proc/1/fd; find / -path /proc -prune -o -name "memory.oom*" -print',
        );
        const own = [0, 1, 2, 3]; // 3 is the folder that ls reads
        assert.equal(seen.stdout.toString(), ['1', ...own, ''].join('\n'), 'only the empty folder has the name of a control group');
        assert.match(seen.stderr.toString(), /\/proc\/1\/fd.*: Permission denied/);
        const eaten = await sandbox.sh('head -c 20000000 /dev/zero | tail >/dev/null');
        assert.equal(eaten.peakMemory > 20_000_000, mounts);
        const killed = await sandbox.sh('tail /dev/zero; exit 3', { limits: { wallMs: 30_000 } });
        assert.deepEqual([killed.outcome, killed.oomKills], mounts ? [{ kind: 'out_of_memory' }, 1] : [{ kind: 'exited', code: 3 }, 0]);
        assert.deepEqual((await sandbox.sh('true')).outcome, { kind: 'exited', code: 0 });
      });

      it('counts the CPU time of all processes together, of those that ended too', async () => {
        await using sandbox = new LegacySandbox(extra);
        await sandbox.open();
        const limits = { cpuMs: 500, wallMs: 60_000 };
        const busy = 'while :; do :; done';
        for (const script of [`(${busy}) & (${busy}) & wait`, 'while :; do /bin/true; done', `setsid sh -c '${busy}'; exit 0`]) {
          const { outcome, userMs, systemMs } = await sandbox.sh(script, { limits });
          assert.deepEqual(outcome, { kind: 'timed_out', clock: 'cpu' }, script);
          assert.ok(userMs + systemMs >= 450, `${script}: ${userMs} + ${systemMs} ms`);
        }
        assert.deepEqual(
          (await sandbox.sh('exit 4', { limits: { cpuMs: 100 } })).outcome,
          { kind: 'exited', code: 4 },
          'each step has its own',
        );
      });

      it('fills its folder and no more', async () => {
        await using sandbox = new LegacySandbox(extra);
        await sandbox.open();
        const result = await sandbox.sh('head -c 60000000 /dev/zero > big; s=$?; sleep 0.5; exit $s', { limits: { wallMs: 30_000 } });
        assert.deepEqual(result.outcome, mounts ? { kind: 'exited', code: 1 } : { kind: 'out_of_disk' });
      });

      it('user code can’t mount, by itself or in a namespace of its own, and holds no capability', async () => {
        await using sandbox = new LegacySandbox(extra);
        await sandbox.open();
        const result = await sandbox.sh(
          'for try in "mount -t tmpfs none /mnt" "mount --bind / /mnt" "mount -o remount,rw /" "umount /tmp" "unshare -m true" "unshare -Urm true" "nsenter -t 1 -m true"; do $try 2>/dev/null && echo "did: $try"; done; grep -E "^(Cap|NoNewPrivs|Seccomp:)" /proc/self/status; grep CapBnd /proc/1/status',
        );
        const lines = result.stdout.toString().trim().split('\n');
        assert.deepEqual(
          lines.slice(0, -1).map((line) => line.replace(/0+$/, '0')),
          [...['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'].map((name) => `${name}:\t0`), 'NoNewPrivs:\t1', 'Seccomp:\t2'],
        );
        assert.equal((BigInt(`0x${lines.at(-1)?.replace(/.*\t/, '')}`) >> 21n) & 1n, 0n, 'nor has the supervisor');
      });
    });
  }

  it('a fork bomb is held by the number of processes that its uid may have', async () => {
    await using sandbox = new LegacySandbox(['--cap-add', 'SYS_ADMIN']);
    await using other = new LegacySandbox(['--cap-add', 'SYS_ADMIN']);
    await sandbox.open();
    await other.open();
    const bomb = sandbox.sh('bomb() { bomb | bomb & }; for i in 1 2 3; do bomb; done; sleep 1007', { limits: { wallMs: 2_000 } }, 50);
    const most = await other.sh('for i in $(seq 40); do sleep 1008 & done; echo started; ls -d /proc/[0-9]* | wc -l', {}, 50);
    assert.match(most.stdout.toString(), /^started\n4[2-9]\n$/, 'the other sandbox’s processes are not counted against it');
    const bombed = await bomb;
    assert.deepEqual(bombed.outcome, { kind: 'timed_out', clock: 'wall' });
    assert.match(bombed.stderr.toString(), /fork: .*Resource temporarily unavailable/);
    assert.deepEqual((await sandbox.sh('echo alive')).outcome, { kind: 'exited', code: 0 });
  });

  it('learns of memory that ran out on a kernel that counts no killed processes', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'katafleet-old-kernel-'));
    try {
      const supervisor = join(folder, 'supervisor');
      const sources = (await readdir(supervisorSources)).filter((name) => name.endsWith('.c') && name !== 'fuzz.c');
      const flags = ['-std=gnu11', '-D_GNU_SOURCE', '-D_FILE_OFFSET_BITS=64', '-static', '-DOOM_KILLS="counted by no kernel"'];
      await promisify(execFile)('gcc', [...flags, '-o', supervisor, ...sources.map((name) => join(supervisorSources, name))]);
      await chmod(folder, 0o755);
      await using sandbox = new LegacySandbox(['--cap-add', 'SYS_ADMIN'], supervisor);
      assert.equal((await sandbox.open()) & abilities.oom, abilities.oom);
      const kinds = [];
      for (const script of ['exit 0', 'tail /dev/zero; exit 0', 'exit 0']) kinds.push((await sandbox.sh(script)).outcome.kind);
      assert.deepEqual(kinds, ['exited', 'out_of_memory', 'exited']);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it('works on a kernel of 2013: every system call that came after 3.10 is missing', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'katafleet-old-kernel-'));
    try {
      const profile = join(folder, 'seccomp.json');
      await writeFile(profile, JSON.stringify(withoutCallsAfter310));
      await using sandbox = new LegacySandbox(['--cap-add', 'SYS_ADMIN', '--security-opt', `seccomp=${profile}`]);
      assert.equal((await sandbox.open()) & abilities.tmpfs, abilities.tmpfs);
      const result = await sandbox.sh('cat; cat given; echo; kill -TERM $$', { stdin: Buffer.from('in ') });
      assert.equal(result.stdout.toString(), 'in x\n');
      assert.deepEqual(result.outcome, { kind: 'signalled', signal: 15 });
      const again = await sandbox.sh('mkdir /tmp/.katafleet-stdin; cat', { stdin: Buffer.from('again') });
      assert.equal((await sandbox.sh('cat', { stdin: new Uint8Array(again.stdout) })).stdout.toString(), 'again');
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});

/** In the order of their numbers on amd64, arch/x86/entry/syscalls/syscall_64.tbl; 3.10 ended with finit_module, 313. */
const withoutCallsAfter310 = {
  defaultAction: 'SCMP_ACT_ALLOW',
  syscalls: [
    {
      action: 'SCMP_ACT_ERRNO',
      errnoRet: 38,
      names: [
        ...['sched_setattr', 'sched_getattr', 'renameat2', 'getrandom', 'memfd_create', 'kexec_file_load', 'bpf', 'execveat'],
        ...['userfaultfd', 'membarrier', 'mlock2', 'copy_file_range', 'preadv2', 'pwritev2', 'pkey_mprotect', 'pkey_alloc', 'pkey_free'],
        ...['statx', 'io_pgetevents', 'rseq', 'pidfd_send_signal', 'io_uring_setup', 'io_uring_enter', 'io_uring_register', 'open_tree'],
        ...['move_mount', 'fsopen', 'fsconfig', 'fsmount', 'fspick', 'pidfd_open', 'clone3', 'close_range', 'openat2', 'pidfd_getfd'],
        ...['faccessat2', 'process_madvise', 'epoll_pwait2'],
      ],
    },
  ],
};
