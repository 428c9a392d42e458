import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defaultOptions } from '../../src/app/defaults.ts';
import { Katafleet } from '../../src/app/library.ts';
import { localNode } from '../../src/app/local-node.ts';
import { optionsOf } from '../../src/app/options.ts';
import { loadConfig } from '../../src/config/load.ts';
import { defaults } from '../../src/model/defaults.ts';
import { unplaced } from '../../src/model/placing.ts';

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

  it('of the queue are the same for a run that comes past the configuration', () => {
    writeFileSync(join(folder, 'katafleet.yaml'), '{}');
    const { config } = loadConfig({ env: {}, cwd: folder, file: join(folder, 'katafleet.yaml') });
    assert.equal(unplaced.queueMs, config.queue.wait);
  });

  it('of the ports are those that the stack files publish', () => {
    const { api, dial } = defaults.ports;
    for (const [file, ports] of Object.entries({ 'compose.yaml': [api], 'swarm.yaml': [api, dial] })) {
      const text = readFileSync(new URL(`../../stacks/${file}`, import.meta.url), 'utf8');
      for (const port of ports) assert.match(text, new RegExp(`-(127\\.0\\.0\\.1:)?${port}}`), `${file} publishes ${port}`);
    }
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
