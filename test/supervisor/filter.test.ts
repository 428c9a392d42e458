import assert from 'node:assert/strict';
import type { Profile } from '../../src/model/profile.ts';
import { staticProgram } from '../support/compile.ts';
import { file, PipedSupervisor } from '../support/supervisor.ts';

const refused = 'Operation not permitted';
const unknown = 'Function not implemented';
const noSuchFamily = 'Address family not supported by protocol';

describe('supervisor: system calls', () => {
  /** What a program is told that tries what no program may do, by call. */
  async function answers(supervisor: PipedSupervisor, profile: Partial<Profile> = {}): Promise<Map<string, string>> {
    await using opened = await supervisor.open();
    await opened.files(file('try', await staticProgram('calls'), undefined, 0o755));
    const { outcome, stdout } = await opened.run(['./try'], { limits: { wallMs: 60_000 } }, profile);
    assert.deepEqual(outcome, { kind: 'exited', code: 0 });
    return new Map(
      stdout
        .toString()
        .split('\n')
        .map((line) => line.split(': ') as [string, string]),
    );
  }
  function are(said: Map<string, string>, answer: string, ...calls: string[]): void {
    for (const call of calls) assert.equal(said.get(call), answer, call);
  }
  /** Kernels that run no 32-bit programs know none of their calls. */
  const runs32 = (said: Map<string, string>) => said.get('32-bit getpid') === 'done';

  it('gives a program no mounts and namespaces of its own, by whatever number it asks, and lets it fork', async () => {
    const said = await answers(await PipedSupervisor.start());
    are(said, refused, 'mount', 'umount2', 'unshare', 'setns', 'fsopen', 'open_tree_attr', 'io_uring_setup', 'keyctl');
    are(said, refused, 'clone into a user namespace');
    are(said, unknown, 'clone3'); // so that a C library takes clone
    are(said, 'done', 'fork');
    if (process.arch !== 'x64') return;
    are(said, unknown, 'mount by its x32 number', 'ptrace by its x32 number without the bit');
    if (runs32(said)) are(said, refused, '32-bit mount');
  });

  it('keeps it from what no namespace confines: logs, quotas, other families of sockets, slots of the whole machine', async () => {
    const said = await answers(await PipedSupervisor.start());
    are(said, refused, 'syslog', 'quotactl', 'quotactl_fd', 'fanotify_init', 'lookup_dcookie');
    are(said, unknown, 'io_setup');
    are(said, noSuchFamily, 'a socket of vsock', 'a pair of vsock');
    const families = Array.from(said.keys()).filter((key) => key.startsWith('family '));
    const own = ['family 1', 'family 2', 'family 10', 'family 16'];
    assert.deepEqual(
      families.filter((family) => !own.includes(family)),
      [],
      'of those the kernel has, only unix, inet, inet6 and netlink',
    );
    are(said, 'done', 'family 1', 'family 2');
    if (!runs32(said)) return;
    are(said, refused, '32-bit syslog', '32-bit quotactl', '32-bit fanotify_init', '32-bit lookup_dcookie');
    are(said, unknown, '32-bit io_setup', '32-bit clone3');
    are(said, noSuchFamily, '32-bit socket', '32-bit socketpair', '32-bit socketcall', '32-bit socketcall pair');
    are(said, 'Bad address', '32-bit shutdown'); // it came through: its arguments are read
  });

  it('gives System V IPC where there is shared memory, and none where there is not', async () => {
    const calls = ['shmget', 'semget', 'msgget'];
    const without = await answers(await PipedSupervisor.start(), { shm: 0 });
    are(without, unknown, ...calls);
    if (runs32(without)) are(without, unknown, '32-bit ipc', '32-bit shmget');
    if (process.getuid?.() !== 0) return; // what it makes belongs into a namespace of its own
    are(await answers(await PipedSupervisor.under(['unshare', '--ipc']), { shm: 1 << 20 }), 'done', ...calls);
  });

  it('lets a program trace its own, but where a tracer can change a call behind the filter’s back', async () => {
    are(await answers(await PipedSupervisor.start()), 'done', 'ptrace', 'process_vm_readv');
    const old = await answers(await PipedSupervisor.under(['setarch', '--uname-2.6']));
    are(old, refused, 'ptrace', 'process_vm_readv');
    if (runs32(old)) are(old, refused, '32-bit ptrace');
  });
});
