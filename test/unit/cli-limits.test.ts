import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { main, program } from '../../src/cli/program.ts';
import { profileNamed, withProfile } from '../../src/cli/profile.ts';
import { loadConfig } from '../../src/config/load.ts';
import { KatafleetError } from '../../src/model/errors.ts';
import { callerLimits } from '../../src/model/limits.ts';
import { aRequest } from '../support/builders.ts';
import { type Asked, refusingServer } from '../support/refusing-server.ts';

const refused = (message: RegExp, hint: RegExp) => (error: unknown) =>
  error instanceof KatafleetError && error.code === 'limits.invalid' && message.test(error.message) && hint.test(error.hint ?? '');

describe('katafleet run: limits and profiles', () => {
  let folder: string;
  let server: Awaited<ReturnType<typeof refusingServer>>;
  let url: string;
  let asked: Asked[];
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'katafleet-limits-'));
    await writeFile(join(folder, 'in'), '');
    server = await refusingServer();
    ({ url, asked } = server);
  });
  afterEach(async () => {
    await server.close();
    await rm(folder, { recursive: true, force: true });
  });

  /** What stderr says of a run on the server. */
  async function run(...options: string[]): Promise<string> {
    const said: string[] = [];
    const write = process.stderr.write.bind(process.stderr);
    process.stderr.write = (text) => said.push(String(text)) > 0;
    try {
      assert.equal(await main(['--server', url, 'run', folder, '-i', 'any', '--stdin', join(folder, 'in'), ...options, '--', 'true']), 64);
    } finally {
      process.stderr.write = write;
    }
    return said.join('');
  }

  it('sends what --limit says in bytes and ms, and it wins over a short option', async () => {
    await run('-m', '64m', '-t', '1s', '--limit', 'memory=1g', '--limit', 'openFiles=64', '--limit', 'stack=8m');
    assert.deepEqual(asked[0]?.profile, { memory: 1024 ** 3, wallMs: 1_000, openFiles: 64, stack: 8 * 1024 ** 2 });
  });

  it('sends the name of a profile to a server, and what a step may have of its own with the step', async () => {
    await run('--profile', 'jvm', '-t', '5s', '--limit', 'stdout=2k');
    assert.deepEqual(asked[0]?.profile, 'jvm');
    assert.deepEqual(asked[0].steps?.[0]?.limits, { wallMs: 5_000, stdout: 2_048 });
  });

  it('asks a server for nothing where other limits stand beside the name of a profile', async () => {
    assert.match(await run('--profile', 'jvm', '-m', '1g'), /got memory and --profile jvm[^]*leave one of them out/);
    assert.deepEqual(asked, []);
  });

  it('fails with the near name where a limit is unknown', async () => {
    assert.match(await run('--limit', 'opneFiles=64'), /no limit "opneFiles"; did you mean openFiles\?[^]*the limits are memory, cpus/);
    assert.deepEqual(asked, []);
  });

  it('takes a profile of the configuration, the one named default where none is named', async () => {
    const file = join(folder, 'katafleet.yaml');
    const profiles = '{ default: { memory: 64m }, jvm: { memory: 1g, network: class } }';
    await writeFile(file, `nodes: [{ name: a, endpoint: 'unix:///a' }]\nprofiles: ${profiles}\n`);
    const { config } = loadConfig({ env: {}, cwd: folder, file });
    assert.deepEqual([profileNamed(undefined, config)?.memory, profileNamed('jvm', config)?.network], [64 * 1024 ** 2, 'class']);
    assert.throws(() => profileNamed('jmv', config), refused(/no profile "jmv"; did you mean jvm\?/, /^the profiles are default, jvm$/));
    assert.throws(() => profileNamed('toString', config), refused(/no profile "toString"$/, /default, jvm/));
    assert.throws(() => profileNamed('jvm', undefined), refused(/--host takes the place/, /--limit/));
    assert.equal(profileNamed(undefined, undefined), undefined);
  });

  it('leaves a request without a named profile as it is', () => {
    const request = aRequest({ profile: { memory: 1024 ** 3 } });
    assert.equal(withProfile(request, undefined), request);
  });

  it('lists every limit in its help', async () => {
    const help = (await program(['run'])).commands.find((command) => command.name() === 'run')?.helpInformation() ?? assert.fail();
    const words = help.replace(/\s+/g, ' ');
    assert.ok(words.includes(callerLimits.join(', ')), words);
    assert.match(words, /--profile <name>/);
  });
});
