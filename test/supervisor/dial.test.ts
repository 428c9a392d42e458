import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { DialHost, opening } from '../support/dial-host.ts';
import { Dialler } from '../support/dialler.ts';

const key = randomBytes(32);

describe('supervisor: dialling', function () {
  before(function () {
    if (process.getuid?.() !== 0) this.skip(); // the network namespace is root's to empty
  });

  it('a whole run over a connection that it dialled', async () => {
    await using host = await DialHost.listen(key);
    await using supervisor = await Dialler.start(host.port, key);
    const caller = await host.caller();
    const conversation = await caller.open();
    const result = await caller.run(conversation, ['sh', '-c', 'cat; echo err >&2; exit 3'], { stdin: Buffer.from('given') });
    assert.deepEqual(result.outcome, { kind: 'exited', code: 3 });
    assert.deepEqual([result.stdout.toString(), result.stderr.toString()], ['given', 'err\n']);
    caller.destroy();
    assert.equal(await supervisor.exit, 0);
    assert.equal(supervisor.stderr, '', 'no sanitizer spoke');
  });

  it('what follows WELCOME in the same piece is the protocol’s', async () => {
    await using host = await DialHost.listen(key);
    await using supervisor = await Dialler.start(host.port, key);
    const caller = await host.caller();
    const conversation = await caller.admit(1000, opening());
    await conversation.hello();
    assert.equal((await caller.run(conversation, ['echo', 'x'])).stdout.toString(), 'x\n');
    caller.destroy();
    assert.equal(await supervisor.exit, 0);
  });
});
