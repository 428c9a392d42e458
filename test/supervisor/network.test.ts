import assert from 'node:assert/strict';
import { profileOf } from '../../src/core/profile.ts';
import { Step } from '../../src/core/run.ts';
import { executeStep } from '../../src/runs/execute.ts';
import { PipedSupervisor } from '../support/supervisor.ts';

/** PID 1 of its namespace and on a network with nothing but loopback, which is up. */
const alone = ['unshare', '--net', '--pid', '--fork', '--mount-proc', 'sh', '-c', 'ip link set lo up && exec "$@"', 'sh'];
/** Loopback's address is in the routing table only where loopback is up. */
const look = ['sh', '-c', 'grep -c 127.0.0.1 /proc/net/fib_trie; exit 0'];

describe('the supervisor and the network', function () {
  before(function () {
    if (process.getuid?.() !== 0) this.skip();
  });
  const addresses = async ({ conversation }: PipedSupervisor, number: number, keepNetwork: boolean): Promise<number> => {
    const step = Step.parse({ argv: look });
    const { stdout } = await executeStep(conversation, number, step, profileOf(), { collect: false, keepNetwork });
    return Number(stdout.toString());
  };

  it('a step has none, even where there is only loopback; a step of the host’s own has what there is', async () => {
    await using supervisor = await (await PipedSupervisor.under(alone)).open();
    assert.ok((await addresses(supervisor, 1, true)) > 0);
    assert.equal(await addresses(supervisor, 2, false), 0);
    assert.ok((await addresses(supervisor, 3, true)) > 0, 'the namespace was the step’s alone');
  });

  it('where it may not empty the namespace, no step is started on a network', async () => {
    const script = 'ip link add a0 type veth peer name b0 && exec setpriv --bounding-set=-sys_admin "$@"';
    await using supervisor = await (await PipedSupervisor.under(alone.with(7, script))).open();
    await assert.rejects(addresses(supervisor, 1, false), { code: 'sandbox.failed', message: /network/ });
  });
});
