import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { profileOf } from '../../src/model/profile.ts';
import { Step } from '../../src/model/request.ts';
import { encodeFrame, hostFrame } from '../../src/protocol/frames.ts';
import { download } from '../../src/runs/attempt/download.ts';
import { executeStep } from '../../src/runs/attempt/execute.ts';
import { PipedSupervisor } from '../support/supervisor.ts';

/** PID 1 of its namespace, on a network with an interface of its own. */
const alone = [
  ...['unshare', '--net', '--pid', '--fork', '--mount-proc', 'sh', '-c'],
  'ip link set lo up && ip link add a0 type veth peer name b0 && exec "$@"',
  'sh',
];
const interfaces = (file = '/proc/net/dev') => ['sh', '-c', `tail -n +3 ${file} | cut -d: -f1`];

describe('the supervisor and the network', function () {
  before(function () {
    if (process.getuid?.() !== 0) this.skip();
  });
  const seen = async ({ conversation }: PipedSupervisor, number: number, keepNetwork: boolean, argv = interfaces()) => {
    const { stdout } = await executeStep(conversation, number, Step.parse({ argv }), profileOf(), { collect: false, keepNetwork });
    return stdout.toString().split(/\s+/).filter(Boolean).sort();
  };

  it('a step has none but its own loopback; a step of the host’s has what there is, before and after', async () => {
    await using supervisor = await (await PipedSupervisor.under(alone)).open();
    assert.deepEqual(await seen(supervisor, 1, true), ['a0', 'b0', 'lo']);
    assert.deepEqual(await seen(supervisor, 2, false), ['lo']);
    assert.deepEqual(await seen(supervisor, 3, false, ['sh', '-c', 'grep -o 127.0.0.1 /proc/net/fib_trie | sort -u']), ['127.0.0.1']);
    assert.deepEqual(await seen(supervisor, 4, true), ['a0', 'b0', 'lo'], 'the supervisor can still start steps there');
  });

  it('drops its capabilities in all threads before the first step, and PID 1 shows nothing of the network', async () => {
    await using supervisor = await (await PipedSupervisor.under(alone)).open();
    await supervisor.conversation.send(encodeFrame(hostFrame.collect));
    await download(supervisor.conversation, profileOf());
    const [pid] = (await readFile(`/proc/${supervisor.child.pid}/task/${supervisor.child.pid}/children`, 'utf8')).split(' ');
    const threads = await readdir(`/proc/${pid}/task`);
    assert.equal(threads.length, 2);
    for (const thread of threads) {
      const status = await readFile(`/proc/${pid}/task/${thread}/status`, 'utf8');
      const sets = Array.from(status.matchAll(/^Cap\w+:\t(\w+)$/gm), ([, hex]) => BigInt(`0x${hex}`));
      assert.equal(sets.length, 5);
      for (const set of sets) assert.equal(set & ((1n << 21n) | (1n << 12n)), 0n, 'CAP_SYS_ADMIN and CAP_NET_ADMIN');
    }
    assert.deepEqual(await seen(supervisor, 1, false, interfaces('/proc/1/net/dev')), ['lo']);
    assert.deepEqual(await seen(supervisor, 2, false, ['sh', '-c', 'cat /proc/1/task/*/net/dev 2>/dev/null; exit 0']), []);
  });

  it('where it may not empty the namespace, no step is started on a network', async () => {
    const script = 'ip link add a0 type veth peer name b0 && exec setpriv --bounding-set=-sys_admin "$@"';
    await using supervisor = await (await PipedSupervisor.under(alone.with(7, script))).open();
    await assert.rejects(seen(supervisor, 1, false), { code: 'sandbox.failed', message: /network/ });
  });
});
