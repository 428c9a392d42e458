import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Katafleet, KatafleetError } from '../../src/app/library.ts';
import { stdout } from '../support/fleet.ts';
import { until } from '../support/until.ts';
import { copyScripts, setUp } from '../support/node-setup.ts';
import { said } from '../support/said.ts';
import { sshFleet, sshNode } from '../support/ssh-fleet.ts';
import { Testbed } from '../support/testbed.ts';

const MiB = 1024 ** 2;

/** What docs/legacy.md leads to: a node with Docker 1.6 whose only door is the gate, and a node that gives it its images. */
describe('a legacy node behind its gate', function () {
  this.timeout(300_000);
  const scratch = mkdtempSync(join(tmpdir(), 'katafleet-gated-'));
  let bed: Testbed;
  let fleet: Katafleet;
  before(async () => {
    const key = join(scratch, 'key');
    assert.equal(said('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', key]).code, 0);
    bed = await Testbed.up({ hosts: 2 });
    await bed.useOldDocker('h1');
    copyScripts(bed, 'h1');
    const { code, stderr } = setUp(bed, 'h1', 'node-setup', ['--key', '-', '--server', bed.server, '--load', 'yes'], {
      input: readFileSync(`${key}.pub`, 'utf8'),
    });
    assert.equal(code, 0, stderr);
    const config = join(scratch, 'ssh_config');
    writeFileSync(config, readFileSync(bed.sshConfig, 'utf8').replace(/IdentityFile .*/, `IdentityFile ${key}`));
    const modern = { ...sshNode(bed, 'h2'), endpoint: bed.endpoint('h2'), ssh: undefined };
    fleet = await sshFleet([sshNode(bed, 'h1', { ssh: { config, keepaliveMs: 1_000 } }), modern]);
  });
  after(async () => {
    await fleet?.close();
    await bed?.down();
    rmSync(scratch, { recursive: true, force: true });
  });
  const onLegacy = { placing: { tenant: 'default', priority: 5, constraints: ['host==h1'], queueMs: 240_000 } };
  const run = (script: string, more: object = {}) =>
    fleet.run({ image: 'build-essential', files: [], steps: [{ argv: ['bash', '-c', script] }], ...more }, onLegacy);

  it('is ready, served by its docker command', () => {
    const node = fleet.fleet.nodes().find(({ name }) => name === 'h1');
    assert.deepEqual([node?.state, node?.driver, node?.engine, node?.trouble], ['ready', 'ssh', '1.6.2', undefined]);
  });

  it('runs with files, limits and sessions as any other', async () => {
    const files = [{ path: 'a.c', mode: 0o644, mtimeNs: 1n, content: Buffer.from('int main(void) { return 7; }\n') }];
    const built = await run('gcc a.c && ./a.out', { files });
    assert.deepEqual(
      [built.node, built.outcome, built.changes.files.map(({ path }) => path)],
      ['h1', { kind: 'exited', code: 7 }, ['a.out']],
    );
    const hungry = await run('tail /dev/zero', { profile: { memory: 64 * MiB } });
    assert.deepEqual(hungry.outcome, { kind: 'out_of_memory' });
    await run('echo kept > left', { session: 's' });
    const again = await run('cat left', { session: 's' });
    assert.deepEqual([again.resumed, stdout(again)], [true, 'kept\n']);
  });

  it('an image that it lacks is brought through the gate and runs there', async () => {
    await bed.docker('h2', 'tag', 'katafleet/gcc-assert', 'katafleet/brought');
    await bed.docker('h1', 'rmi', '-f', 'katafleet/gcc-assert');
    await fleet.fleet.refreshImages();
    const brought = await fleet.run({ image: 'brought', files: [], steps: [{ argv: ['true'] }] }, onLegacy);
    assert.deepEqual([brought.node, brought.outcome], ['h1', { kind: 'exited', code: 0 }]);
  });

  it('an image that the gate does not admit is refused in the gate’s words, and nothing is left', async () => {
    const id = (await bed.docker('h1', 'create', 'katafleet/build-essential', 'true')).trim();
    await bed.docker('h1', 'commit', id, 'foreign/image');
    await bed.docker('h1', 'rm', id);
    await fleet.fleet.refreshImages();
    const refused = fleet.run({ image: 'foreign/image', files: [], steps: [{ argv: ['true'] }] }, onLegacy);
    await assert.rejects(
      refused,
      (error) => error instanceof KatafleetError && error.code === 'gate.refused' && /foreign/.test(error.message),
    );
    await fleet.close();
    await until(async () => (await bed.containers('h1')).length === 0);
  });
});
