import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { endpoint } from '../support/fleet.ts';
import { freePort } from '../support/free-port.ts';
import { type RunAnswer, Service } from '../support/service.ts';
import { until } from '../support/until.ts';

const main = fileURLToPath(new URL('../../dist/main.js', import.meta.url));

/** `katafleet --server URL run`, with what it has printed so far. */
class Command {
  stdout = '';
  stderr = '';
  readonly child: ChildProcess;
  readonly #ended: Promise<unknown[]>;

  constructor(url: string, words: readonly string[], cwd: string) {
    const child = spawn(process.execPath, [main, '--server', url, 'run', ...words], { cwd, stdio: ['ignore', 'pipe', 'pipe'] });
    child.stdout.on('data', (bytes: Buffer) => (this.stdout += bytes.toString()));
    child.stderr.on('data', (bytes: Buffer) => (this.stderr += bytes.toString()));
    this.child = child;
    this.#ended = once(child, 'close');
  }

  async ended(): Promise<unknown> {
    return (await this.#ended)[0];
  }
}

describe('katafleet run --server', () => {
  let folder: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'katafleet-run-on-server-'));
    await writeFile(join(folder, 'a.txt'), 'a\n');
  });
  after(() => rm(folder, { recursive: true, force: true }));

  const serve = async () => Service.start({ nodes: [{ name: 'local', endpoint }], server: { listen: `127.0.0.1:${await freePort()}` } });
  const runs = async (service: Service) => (await service.call<{ runs: RunAnswer[] }>('GET', '/v1/runs')).runs;
  const counting = (lines: number, pause: string) =>
    `i=0; while [ $i -lt ${lines} ]; do i=$((i+1)); echo line $i; sleep ${pause}; done; exit 7`;

  it('prints output while the run goes on', async () => {
    await using service = await serve();
    const command = new Command(service.url, ['-q', '.', '--', 'sh', '-c', 'echo first; while [ ! -e never ]; do sleep 0.1; done'], folder);
    await until(() => command.stdout === 'first\n');
    const [run] = await runs(service);
    assert.equal(run?.state, 'running');
    command.child.kill('SIGINT');
    assert.equal(await command.ended(), 130);
    assert.equal(command.stdout, 'first\n');
    const { result } = await service.call<RunAnswer>('GET', `/v1/runs/${run.id}`);
    assert.equal(result?.outcome.kind, 'cancelled', 'Ctrl-C cancels the run in the server');
  });

  it('goes on when the server is killed and started again: one run, its output complete, its exit code', async () => {
    await using service = await serve();
    const command = new Command(service.url, ['.', '--', 'sh', '-c', counting(12, '0.3')], folder);
    await until(() => command.stdout.includes('line 3\n'));
    await service.kill();
    await until(() => command.stderr.includes('trying again for'));
    await service.start();
    assert.equal(await command.ended(), 7, command.stderr);
    const whole = Array.from({ length: 12 }, (_, at) => `line ${at + 1}\n`).join('');
    assert.ok(command.stdout.endsWith(whole), command.stdout);
    const before = command.stdout.slice(0, -whole.length);
    assert.ok(whole.startsWith(before) && before.includes('line 3\n'), command.stdout);
    assert.match(command.stderr, /the server answers again/);
    assert.match(command.stderr, /attempt 1 was lost.*void/);
    const [run, ...others] = await runs(service);
    assert.deepEqual([run?.state, others.length], ['finished', 0]);
  });

  it('tells the whole result of a run that ended while the server was away from it', async () => {
    await using service = await serve();
    const command = new Command(service.url, ['--json', '.', '--', 'sh', '-c', counting(3, '0.2')], folder);
    await until(async () => (await runs(service)).some(({ state }) => state === 'running'));
    await until(async () => (await runs(service)).some(({ state }) => state === 'finished'));
    await service.kill();
    await service.start();
    assert.equal(await command.ended(), 7, command.stderr);
    const { steps } = JSON.parse(command.stdout) as { steps: { stdout: string }[] };
    assert.equal(steps[0]?.stdout, 'line 1\nline 2\nline 3\n');
  });

  it('ends when nobody reads its output any more, and so does the run', async () => {
    await using service = await serve();
    const words = `"$NODE" "$MAIN" --server ${service.url} run -q . -- sh -c '${counting(100_000, '0.01')}' | head -1`;
    const shell = spawn('bash', ['-c', `set -o pipefail; ${words}`], {
      cwd: folder,
      env: { ...process.env, NODE: process.execPath, MAIN: main },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [code] = (await once(shell, 'exit')) as [number];
    assert.equal(code, 141);
    const [run] = await runs(service);
    assert.ok(run);
    const ended = await service.call<RunAnswer>('GET', `/v1/runs/${run.id}?wait=30`);
    assert.equal(ended.result?.outcome.kind, 'cancelled');
  });

  it('says that no server is there, and how long it tries', async () => {
    const command = new Command(`http://127.0.0.1:${await freePort()}`, ['--patience', '300ms', '.', '--', 'true'], folder);
    assert.equal(await command.ended(), 69);
    assert.match(command.stderr, /no katafleet answers at .*: trying again for 300ms/);
  });
});
