import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseConfig } from '../../../src/config/parse.ts';
import { assertHolds, readExpectation } from '../../support/golden.ts';
import { allRecords } from '../../support/golden-records.ts';

for (const { of, folder } of allRecords()) {
  it(`a configuration with every key of ${of} is taken, and means the same`, async () => {
    const from = await folder();
    const { value } = parseConfig(readFileSync(join(from, 'katafleet.yaml'), 'utf8'), 'katafleet.yaml');
    assertHolds(value, readExpectation(join(from, 'config.json')), 'config');
  });
}
