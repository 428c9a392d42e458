import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { main } from '../../../src/cli/program.ts';
import { startPoint, testStore } from '../../support/katas.ts';
import { refusingServer } from '../../support/refusing-server.ts';

const MiB = 1024 ** 2;

describe('katafleet kata test: limits and profiles', () => {
  let store: Awaited<ReturnType<typeof testStore>>;
  let server: Awaited<ReturnType<typeof refusingServer>>;
  let work: string;
  beforeEach(async () => {
    [store, server, work] = [await testStore(), await refusingServer(), await mkdtemp(join(tmpdir(), 'katafleet-cli-'))];
    await store.katas.create(startPoint(), 'mine');
  });
  afterEach(async () => {
    await server.close();
    await store.dispose();
    await rm(work, { recursive: true });
  });

  /** What stderr says of a test. */
  async function test(where: string[], ...options: string[]): Promise<string> {
    const said: string[] = [];
    const write = process.stderr.write.bind(process.stderr);
    process.stderr.write = (text) => said.push(String(text)) > 0;
    try {
      assert.equal(await main([...where, 'kata', '--store', store.folder, 'test', 'mine', 'lion', ...options]), 64);
    } finally {
      process.stderr.write = write;
    }
    return said.join('');
  }
  const there = () => ['--server', server.url];

  it('lays --limit over the start-point’s limits', async () => {
    await test(there(), '--limit', 'memory=1g', '--limit', 'wallMs=3s');
    const profile = server.asked[0]?.profile as Record<string, number>;
    assert.deepEqual([profile['memory'], profile['wallMs']], [1024 * MiB, 3_000]);
  });

  it('sends --profile by its name, and what a step may have of its own with the step', async () => {
    await test(there(), '--profile', 'jvm', '--limit', 'stdout=2k');
    assert.equal(server.asked[0]?.profile, 'jvm');
    assert.equal((server.asked[0].steps?.[0]?.limits as { stdout?: number }).stdout, 2_048);
  });

  it('writes no test down when the limits have a fault', async () => {
    assert.match(await test(there(), '--profile', 'jvm', '--limit', 'memory=1g'), /got memory and --profile jvm/);
    assert.match(await test(there(), '--limit', 'opneFiles=64'), /did you mean openFiles\?/);
    const config = join(work, 'katafleet.yaml');
    // Nothing serves at this address, so that the test would run here.
    await writeFile(
      config,
      "nodes: [{ name: a, endpoint: 'unix:///none' }]\nserver: { listen: '127.0.0.1:1' }\nprofiles: { jvm: { memory: 1g } }\n",
    );
    assert.match(await test(['--config', config], '--profile', 'jmv'), /no profile "jmv"; did you mean jvm\?/);
    assert.deepEqual([server.asked, (await store.katas.list()).flatMap(({ avatars }) => avatars)], [[], []]);
  });
});
