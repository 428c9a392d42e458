import assert from 'node:assert/strict';
import { eventually } from '../support/eventually.ts';
import { Testbed } from '../support/testbed.ts';

describe('hosts of scripts/testbed', () => {
  it('tell, when they go, whose engine crashed by itself, and not whose was killed', async () => {
    await using bed = await Testbed.up({ hosts: 2 });
    await bed.do('kill-engine', 'h1');
    await bed.sh('h2', 'sh', '-c', 'kill -SEGV $(cat /run/docker.pid)');
    await eventually('the engine has gone', 60, async () => {
      await assert.rejects(bed.docker('h2', 'version'));
    });
    const said = await bed.down();
    assert.match(said, /the engine of h2 crashed; its log:\nSIGSEGV: segmentation violation\n/);
    assert.doesNotMatch(said, /of h1/);
  });
});
