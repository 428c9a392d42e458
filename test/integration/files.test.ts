import assert from 'node:assert/strict';
import { join } from 'node:path';
import Dockerode from 'dockerode';
import type { Katafleet, SandboxFile } from '../../src/app/library.ts';
import { recipesFolder } from '../../src/images/recipe.ts';
import { startPointFiles } from '../../src/images/start-point.ts';
import { endpoint, sh, stdout, testFleet, withoutUid } from '../support/fleet.ts';
import { importScratch, scratchImage } from '../support/scratch.ts';

const recipe = join(recipesFolder, 'gcc-assert');

describe('files, in real containers', () => {
  let fleet: Katafleet;
  before(() => (fleet = testFleet()));
  after(() => fleet.close());

  it('the kata is red, amber and green', async () => {
    for (const [light, instead] of [
      ['red', undefined],
      ['amber', 'cases/amber'],
      ['green', 'cases/green'],
    ] as const) {
      const files = await startPointFiles(recipe, 'start_point', instead);
      const result = await fleet.run({ image: 'gcc-assert', files, steps: [{ argv: ['bash', './cyber-dojo.sh'] }] });
      assert.equal(result.light, light);
    }
  });

  it('time stamps survive both ways, so that make builds only what changed', async () => {
    const files = await startPointFiles(recipe, 'start_point', 'cases/green');
    const build = (given: readonly SandboxFile[]) => fleet.run({ image: 'gcc-assert', files: given, steps: [{ argv: ['make'] }] });
    const first = await build(files);
    const compiled = (text: string) => text.split('\n').filter((line) => line.includes(' -c ')).length;
    assert.equal(compiled(stdout(first)), 2);
    const built = [...files, ...first.changes.files];
    assert.equal(compiled(stdout(await build(built))), 0, 'nothing changed');
    const edited = built.map((file) => (file.path === 'hiker.c' ? { ...file, mtimeNs: BigInt(Date.now()) * 1_000_000n } : file));
    assert.equal(compiled(stdout(await build(edited))), 1, 'one file changed');
    const again = await sh(fleet, 'stat -c %.9Y given', {
      files: [{ path: 'given', mode: 0o600, mtimeNs: 1_234_567_890_987_654_321n, content: Buffer.from('') }],
    });
    assert.equal(stdout(again), '1234567890.987654321\n');
  });

  it('names and bytes of every kind, 10,000 small files, and one of 100 MB', async () => {
    const names = ['sp ace', `q"'`, 'new\nline', 'ünï☃', '-rf', 'a/b/c/d/e', '\udcff', 'empty'];
    const files: SandboxFile[] = names.map((path) => ({
      path,
      mode: 0o644,
      mtimeNs: 1n,
      content: Buffer.from(path === 'empty' ? '' : 'bin\0ary\xff'),
    }));
    for (let index = 0; index < 10_000; index += 1)
      files.push({ path: `many/${index % 50}/${index}`, mode: 0o600, mtimeNs: 5n, content: Buffer.from(`${index}`) });
    const chunk = Buffer.alloc(1_000_000, 'x');
    const open = async function* () {
      for (let index = 0; index < 100; index += 1) yield chunk;
    };
    files.push({ path: 'large', mode: 0o644, mtimeNs: 0n, content: { size: 100_000_000, open } });
    const result = await sh(
      fleet,
      `find . -type f | wc -l; cksum < large; for f in * .*; do test -f "$f" && mv -- "$f" "$f moved"; done; rm large*`,
      { files, profile: { memory: 512 * 1024 * 1024 } },
    );
    assert.deepEqual(result.outcome, { kind: 'exited', code: 0 }, JSON.stringify(result.steps[0]?.stderr.toString()));
    assert.equal(stdout(result).split('\n')[0], String(files.length + 1));
  });

  it('an image FROM scratch with one static binary runs as it is', async () => {
    await importScratch(new Dockerode({ socketPath: endpoint.replace('unix://', ''), host: undefined }));
    const result = await fleet.run({
      image: scratchImage,
      files: [{ path: 'in', mode: 0o644, mtimeNs: 0n, content: Buffer.from('given') }],
      steps: [{ argv: ['/program'] }],
    });
    assert.deepEqual(
      [withoutUid(stdout(result)), result.changes.files.map(({ path, content }) => [path, content.toString()])],
      ['UID given\n', [['out', 'made']]],
    );
  });
});
