import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defaultOptions } from '../../src/app/defaults.ts';
import { Katafleet } from '../../src/app/library.ts';
import { localNode } from '../../src/app/local-node.ts';
import { optionsOf } from '../../src/app/options.ts';
import { loadConfig } from '../../src/config/load.ts';
import { defaults } from '../../src/model/defaults.ts';

describe('defaults', () => {
  let folder: string;
  beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'katafleet-defaults-'))));
  afterEach(() => rmSync(folder, { recursive: true }));

  const configured = () => {
    const file = join(folder, 'katafleet.yaml');
    writeFileSync(file, '{}');
    return optionsOf(loadConfig({ env: {}, cwd: folder, file }).config);
  };

  it('of the library are those of an empty configuration', () => {
    const usual: Record<string, unknown> = defaultOptions();
    const own = Object.entries(configured()).filter(([name]) => Object.hasOwn(usual, name));
    assert.deepEqual(Object.fromEntries(own), usual);
  });

  it('of swarms are those of an empty configuration', () => {
    const { stack, dial, lingerMs, patienceMs } = configured().swarm ?? {};
    assert.deepEqual({ stack, dial, lingerMs, patienceMs }, defaults.swarm);
  });

  it('of the local engine are those of an empty configuration', async () => {
    assert.deepEqual(configured().nodes, [localNode()]);
    await using fleet = new Katafleet();
    assert.deepEqual(fleet.fleet.all[0]?.settings, localNode());
  });

  it('name the engine that the user of the library names', () => {
    const { endpoint, tls, reserve } = localNode({ endpoint: 'tcp://10.0.0.1:2376', certPath: '/certs' });
    assert.deepEqual({ endpoint, tls, reserve }, { endpoint: 'tcp://10.0.0.1:2376', tls: '/certs', reserve: { share: 0.1 } });
  });
});
