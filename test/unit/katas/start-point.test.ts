import assert from 'node:assert/strict';
import { cp, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { KatafleetError } from '../../../src/model/errors.ts';
import { readRecipes } from '../../../src/images/recipe.ts';
import { readStartPoint } from '../../../src/katas/start-point.ts';

const own = fileURLToPath(new URL('../../../start-points/', import.meta.url));
const invalid = (why: RegExp) => (error: unknown) =>
  error instanceof KatafleetError && error.code === 'kata.invalid' && why.test(error.message);

describe('start-points', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'katafleet-start-'));
    await cp(join(own, 'c-approval'), folder, { recursive: true });
  });
  afterEach(() => rm(folder, { recursive: true }));

  it('are complete in katafleet’s own recipes, and their images have recipes', async () => {
    const recipes = await readRecipes();
    for (const name of await readdir(own)) {
      const { manifest, files } = await readStartPoint(join(own, name));
      assert.ok(recipes.has(manifest.image_name), name);
      const forgotten = (await readdir(join(own, name))).filter(
        (file) => !['manifest.json', 'kata.yaml', ...files.map(({ path }) => path)].includes(file),
      );
      assert.deepEqual(forgotten, [], name);
    }
  });

  it('keep what is executable so', async () => {
    const { files } = await readStartPoint(folder);
    assert.deepEqual(
      files.map(({ path, mode }) => [path, mode]),
      [
        ['hiker.c', 0o644],
        ['approve.sh', 0o755],
        ['cyber-dojo.sh', 0o644],
      ],
    );
  });

  it('report why they are not valid', async () => {
    await rm(join(folder, 'hiker.c'));
    await assert.rejects(readStartPoint(folder), invalid(/names "hiker\.c"/));
    await symlink('/etc/passwd', join(folder, 'hiker.c'));
    await assert.rejects(readStartPoint(folder), invalid(/no plain file/));
    await writeFile(join(folder, 'kata.yaml'), 'rules: [{ hide: "../x" }]');
    await assert.rejects(readStartPoint(folder), invalid(/kata\.yaml/));
    await writeFile(join(folder, 'manifest.json'), '{"unknown": 1}');
    await assert.rejects(readStartPoint(folder), invalid(/manifest\.json/));
    await rm(join(folder, 'manifest.json'));
    await assert.rejects(readStartPoint(folder), invalid(/is not a start-point/));
  });

  it('name nothing outside of themselves', async () => {
    const manifest = {
      display_name: 'x',
      image_name: 'x',
      visible_filenames: ['cyber-dojo.sh', '../../etc/passwd'],
      filename_extension: '.c',
    };
    await writeFile(join(folder, 'manifest.json'), JSON.stringify(manifest));
    await assert.rejects(readStartPoint(folder), (error) => error instanceof KatafleetError && error.code === 'files.path');
  });
});
