import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { appendFile, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { endpoint } from '../support/fleet.ts';
import { Service } from '../support/service.ts';

const main = fileURLToPath(new URL('../../dist/main.js', import.meta.url));
const execute = promisify(execFile);

/** A command of katafleet beside one that serves; red and amber are no failure of it. */
async function katafleet(service: Service, ...args: string[]): Promise<string> {
  const ended = execute(process.execPath, [main, '--config', service.config, '--server', service.url, ...args]);
  const { stdout } = await ended.catch((error: unknown) => error as { stdout: string; stderr: string });
  return stdout;
}

interface Tested {
  test: number;
  resumed: boolean;
  light: string;
  commits: object | null;
}

describe('katas beside a katafleet that serves', () => {
  let service: Service;
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'katafleet-kata-serve-'));
    service = await Service.start({ nodes: [{ name: 'local', endpoint }], katas: { folder: join(folder, 'katas') } });
  });
  afterEach(async () => {
    await service[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  });

  it('an avatar’s sandbox is kept between tests, the journal says so, and git clones both commits of each', async () => {
    const id = (await katafleet(service, 'kata', 'create', 'c-gcov')).trim();
    const work = join(folder, 'work');
    const test = async () => JSON.parse(await katafleet(service, 'kata', 'test', id, 'lion', work, '--json')) as Tested;
    await katafleet(service, 'kata', 'test', id, 'lion', '--json');
    await katafleet(service, 'kata', 'files', id, 'lion', '--out', work);
    await appendFile(join(work, 'hiker.c'), '/* thought again */\n');
    const second = await test();
    assert.deepEqual([second.test, second.resumed], [2, true]);
    assert.ok(second.commits);
    const { runs } = (await (await fetch(`${service.url}/v1/runs`)).json()) as { runs: { id: string }[] };
    const attempts = await Promise.all(
      runs.map(
        async (run) => ((await (await fetch(`${service.url}/v1/runs/${run.id}`)).json()) as { attempts: { resumed: boolean }[] }).attempts,
      ),
    );
    assert.deepEqual(
      attempts
        .flat()
        .map(({ resumed }) => resumed)
        .toSorted(),
      [false, true],
    );
    const clone = join(folder, 'clone');
    await execute('git', ['clone', '--quiet', `${service.url}/katas/${id}/lion.git`, clone]);
    assert.match(await readFile(join(clone, 'sandbox/hiker.c'), 'utf8'), /thought again/);
    const { stdout: log } = await execute('git', ['-C', clone, 'log', '--format=%s']);
    assert.ok(log.trim().split('\n').length >= 4, log);
    await assert.rejects(execute('git', ['-C', clone, 'push', '--quiet', 'origin', 'HEAD:refs/heads/mine']));
    await assert.rejects(execute('git', ['clone', '--quiet', `${service.url}/katas/${id}/nobody.git`, join(folder, 'none')]));
  });
});
