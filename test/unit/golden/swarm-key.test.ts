import { chmodSync, copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SwarmKeys } from '../../../src/drivers/swarm/services/keys.ts';
import type { SwarmKeyExpectation } from '../../golden/make-swarm-key.ts';
import { assertHolds, readExpectation } from '../../support/golden.ts';
import { allRecords } from '../../support/golden-records.ts';

for (const { of, folder } of allRecords()) {
  it(`the key of a swarm of ${of} gives the same id and the same secrets`, async () => {
    const from = await folder();
    const { id, secrets } = readExpectation(join(from, 'swarm-key.json')) as SwarmKeyExpectation;
    const scratch = mkdtempSync(join(tmpdir(), 'katafleet-golden-'));
    try {
      copyFileSync(join(from, 'swarm.key'), join(scratch, 'swarm.key'));
      chmodSync(join(scratch, 'swarm.key'), 0o600);
      const keys = SwarmKeys.from(join(scratch, 'swarm.key'));
      assertHolds(keys.id, id, 'id');
      for (const [name, secret] of Object.entries(secrets)) assertHolds(keys.secret(name), secret, name);
    } finally {
      rmSync(scratch, { recursive: true });
    }
  });
}
