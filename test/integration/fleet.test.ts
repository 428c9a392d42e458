import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { EngineDriver } from '../../src/drivers/engine/driver.ts';
import { endpoint, sh, stdout, testFleet } from '../support/fleet.ts';
import { until } from '../support/until.ts';

const project = fileURLToPath(new URL('../../', import.meta.url));
const count = async (driver: EngineDriver) => (await driver.list()).length;

describe('the warm pool, on a real engine', () => {
  it('serves warm runs, refills, replaces what died idle, and leaves nothing behind', async () => {
    const fleet = testFleet();
    await fleet.warm('build-essential', 3);
    const results = await Promise.all([sh(fleet, 'echo a'), sh(fleet, 'echo b')]);
    assert.deepEqual(
      results.map(({ warm }) => warm),
      [true, true],
    );
    await fleet.warm('build-essential', 3);
    const [victim] = await fleet.driver.list();
    await fleet.driver.remove(victim?.id ?? '');
    await until(async () => {
      const now = await fleet.driver.list();
      return now.length === 3 && !now.some(({ id }) => id === victim?.id);
    });
    await fleet.close();
    const after = new EngineDriver({ endpoint });
    assert.equal(await count(after), 0);
    after.close();
  });

  it('two hundred runs at once all come back, each with its own answer', async function () {
    this.timeout(300_000);
    await using fleet = testFleet();
    await fleet.warm('build-essential', 8, { memory: 64 * 1024 * 1024 });
    const runs = Array.from({ length: 200 }, (_, index) =>
      sh(fleet, `echo ${index}`, { profile: { memory: 64 * 1024 * 1024, wallMs: 120_000 } }),
    );
    assert.deepEqual(
      (await Promise.all(runs)).map(stdout),
      runs.map((_, index) => `${index}\n`),
    );
  });

  it('one run’s flood of output does not slow another', async () => {
    await using fleet = testFleet();
    await fleet.warm('build-essential', 2);
    const hostile = sh(fleet, `perl -e '$| = 1; print chr(128 + rand 128) for 1..200000'; head -c 64000000 /dev/urandom`, {
      profile: { stdout: 1000, wallMs: 60_000 },
    });
    const quick = await sh(fleet, 'echo quick');
    assert.equal(stdout(quick), 'quick\n');
    const result = await hostile;
    assert.deepEqual([result.outcome, result.steps[0]?.stdoutBytes], [{ kind: 'exited', code: 0 }, 64_200_000]);
    // A letter of up to four bytes stays whole where the output is cut.
    const kept = result.steps[0]?.stdout.length ?? 0;
    assert.ok(kept > 1000 - 4 && kept <= 1000, String(kept));
  });

  it('an engine that restarts under the pool is used again, and its dead sandboxes are replaced', async function () {
    const engine = process.env['KATAFLEET_TEST_ENGINE'];
    if (engine === undefined) return this.skip();
    const script = (verb: string) => promisify(execFile)(`${project}scripts/engine`, [verb, engine]);
    const troubles: string[] = [];
    await using fleet = testFleet({ onTrouble: (message) => troubles.push(message) });
    await fleet.warm('build-essential', 2);
    await script('kill');
    await until(async () => (await fleet.idle('build-essential')) === 0);
    await script('up');
    await until(async () => (await fleet.idle('build-essential')) === 2);
    const result = await sh(fleet, 'echo back');
    assert.deepEqual([result.warm, stdout(result)], [true, 'back\n']);
    assert.ok(troubles.length > 0, 'it said that the engine was gone');
    await fleet.close();
    const after = new EngineDriver({ endpoint });
    assert.equal(await count(after), 0, 'what was lost with the engine is removed too');
    after.close();
  });

  it('kill -9 of katafleet leaves no container behind once it is started again', async () => {
    const script = `
      import { Katafleet } from ${JSON.stringify(new URL('../../src/app/library.ts', import.meta.url).href)};
      const fleet = new Katafleet({ endpoint: ${JSON.stringify(endpoint)} });
      await fleet.warm('build-essential', 3);
      console.log('warm');
      await fleet.run({ image: 'build-essential', files: [], steps: [{ argv: ['sleep', '100'] }], profile: { wallMs: 100000 } });`;
    const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script], {
      cwd: project,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(child.stdout, 'data');
    const driver = new EngineDriver({ endpoint });
    await until(async () => (await count(driver)) >= 3);
    child.kill('SIGKILL');
    await once(child, 'exit');
    assert.ok((await count(driver)) >= 3);
    await using next = testFleet();
    await next.open();
    await until(async () => (await count(driver)) === 0);
    driver.close();
  });
});
