import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { Client } from '../../../src/client/client.ts';

describe('docs/client.md', () => {
  it('names every method of Client, and no other', () => {
    const page = readFileSync(new URL('../../../docs/client.md', import.meta.url), 'utf8');
    const rows = page.split('\n').filter((line) => line.startsWith('| `'));
    const told = rows.flatMap((row) => Array.from((row.split(' | ', 1)[0] ?? '').matchAll(/`(\w+)\(/g), ([, name]) => name ?? ''));
    const methods = Object.entries(Object.getOwnPropertyDescriptors(Client.prototype)).flatMap(([name, { value }]) =>
      typeof value === 'function' && name !== 'constructor' ? [name] : [],
    );
    assert.deepEqual(told.toSorted(), methods.toSorted());
  });
});
