import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cp, mkdir, mkdtemp, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { KatafleetError } from '../../../src/model/errors.ts';
import { readManifest, startPointFiles } from '../../../src/images/start-point.ts';
import { readStartPoint } from '../../../src/katas/start-point.ts';

const own = fileURLToPath(new URL('../../../start-points/c-approval', import.meta.url));
const code =
  (expected: string, why = /./) =>
  (error: unknown) =>
    error instanceof KatafleetError && error.code === expected && why.test(error.message);
const manifest = (...names: string[]) =>
  JSON.stringify({ display_name: 'x', image_name: 'x', visible_filenames: ['cyber-dojo.sh', ...names], filename_extension: '.c' });

describe('start-points and links', () => {
  let recipe: string;
  let folder: string;
  beforeEach(async () => {
    recipe = await mkdtemp(join(tmpdir(), 'katafleet-links-'));
    folder = join(recipe, 'start_point');
    await cp(own, folder, { recursive: true });
  });
  afterEach(() => rm(recipe, { recursive: true }));
  const names = (...more: string[]) => writeFile(join(folder, 'manifest.json'), manifest(...more));

  it('read nothing of the machine through a linked folder', async () => {
    await symlink('/etc', join(folder, 'sub'));
    await names('sub/passwd');
    await assert.rejects(readStartPoint(folder), code('kata.invalid', /names "sub\/passwd": it has no plain file/));
    await assert.rejects(startPointFiles(recipe, 'start_point'), code('recipe.invalid', /sub\/passwd is not a plain file/));
  });

  it('read files in folders of their own', async () => {
    await mkdir(join(folder, 'sub'));
    await writeFile(join(folder, 'sub/file'), 'own');
    await names('sub/file');
    const read = [(await readStartPoint(folder)).files, await startPointFiles(recipe, 'start_point')];
    for (const files of read) {
      const { content } = files.find(({ path }) => path === 'sub/file') ?? {};
      assert.deepEqual(content, Buffer.from('own'));
    }
  });

  it('name nothing above themselves, in a recipe neither', async () => {
    await writeFile(join(recipe, 'recipe.yaml'), 'secret');
    for (const path of ['../recipe.yaml', '../../../../etc/passwd', '/etc/passwd']) {
      await names(path);
      await assert.rejects(startPointFiles(recipe, 'start_point'), code('files.path'), path);
      await assert.rejects(readStartPoint(folder), code('files.path'), path);
    }
  });

  it('a recipe’s folders are no links, and nor is what they hold', async () => {
    await symlink('/etc', join(recipe, 'etc'));
    await assert.rejects(startPointFiles(recipe, 'start_point', 'etc'), code('recipe.invalid', /etc is not a folder/));
    await symlink('start_point', join(recipe, 'other'));
    await assert.rejects(startPointFiles(recipe, 'other'), code('recipe.invalid', /no plain file manifest\.json/));
    await mkdir(join(recipe, 'case'));
    await symlink('/etc/passwd', join(recipe, 'case/hiker.c'));
    await assert.rejects(startPointFiles(recipe, 'start_point', 'case'), code('recipe.invalid', /case\/hiker\.c is not a plain file/));
  });

  it('their manifest and rules are plain files of their own, of a bounded size', async () => {
    const [json, yaml] = [join(folder, 'manifest.json'), join(folder, 'kata.yaml')];
    await rm(yaml);
    await symlink('/etc/passwd', yaml);
    await assert.rejects(readStartPoint(folder), code('kata.invalid', /kata\.yaml is not a plain file/));
    await rm(yaml);
    assert.deepEqual((await readStartPoint(folder)).rules.rules, []);
    await truncate(json, 2 * 1024 * 1024);
    await assert.rejects(readStartPoint(folder), code('kata.invalid', /larger than/));
    assert.equal(await readManifest(folder, 'or another kind'), undefined);
    await assert.rejects(readManifest(folder), code('files.too_large'));
    await rm(json);
    for (const make of [() => symlink('/etc/passwd', json), () => Promise.resolve(spawnSync('mkfifo', [json]))]) {
      await make();
      await assert.rejects(readStartPoint(folder), (error) => code('kata.invalid')(error) && !/root:/.test((error as Error).message));
      assert.equal(await readManifest(folder, 'or another kind'), undefined);
      await rm(json);
    }
  });
});
