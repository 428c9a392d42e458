import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { KatafleetError } from '../../src/model/errors.ts';
import type { RunResult } from '../../src/model/result.ts';
import type { Fingerprint } from '../../src/drivers/contract.ts';
import { productionPackages, projectContext } from '../../src/images/context.ts';
import { prove } from '../../src/images/prove.ts';
import { buildOrder, parseRecipe, type ProjectContext, readRecipes, type Recipe, recipesFolder } from '../../src/images/recipe.ts';
import { startPointFiles } from '../../src/images/start-point.ts';

const code = (expected: string) => (error: unknown) => error instanceof KatafleetError && error.code === expected;
const on = (recipe: string): Pick<Recipe, 'from'> => ({ from: { recipe } });

const fingerprint = { architecture: process.arch === 'x64' ? 'amd64' : process.arch, node: 'n' } as Fingerprint;

describe("what of katafleet goes into its own image's build context", () => {
  const folder = mkdtempSync(join(tmpdir(), 'katafleet-context-'));
  after(() => rmSync(folder, { recursive: true }));
  const put = (path: string, text = '', mode = 0o600) => {
    mkdirSync(join(folder, path, '..'), { recursive: true });
    writeFileSync(join(folder, path), text, { mode });
  };
  const manifest = (dependencies: object = {}, optionalDependencies: object = {}) => JSON.stringify({ dependencies, optionalDependencies });
  const names = async (context: Partial<ProjectContext>, root = folder) =>
    (await projectContext({ project: [], packages: false, node: false, ...context }, fingerprint, 'copied', root)).map(({ name }) => name);

  it('is what is named, less what is left out, readable to whoever runs it', async () => {
    put('dist/main.js', 'x');
    put('images/a/build/one', 'x', 0o700);
    put('images/a/build/two/three');
    const files = await projectContext(
      { project: ['dist', 'images', '!images/a/build/two'], packages: false, node: false },
      fingerprint,
      'copied',
      folder,
    );
    assert.deepEqual(
      files.map(({ name, mode, size }) => [name, mode, size]),
      [
        ['project/dist/main.js', 0o755, 1],
        ['project/images/a/build/one', 0o755, 1],
      ],
    );
    await assert.rejects(names({ project: ['absent'] }), /absent, which the image needs, is missing/);
  });

  it('has the packages that it needs, nested and shared ones, without types and sources', async () => {
    put('package.json', manifest({ a: '1' }, { none: '1' }));
    put('node_modules/a/package.json', manifest({ b: '1', '@s/c': '1' }));
    put('node_modules/a/index.js');
    put('node_modules/a/index.d.ts');
    put('node_modules/a/deps/big.c');
    put('node_modules/a/build/Release/a.node');
    put('node_modules/a/node_modules/b/package.json', manifest());
    put('node_modules/@s/c/package.json', manifest({ a: '1' }));
    put('node_modules/b/package.json', manifest());
    put('node_modules/dev/package.json', manifest());
    assert.deepEqual(await names({ packages: true }), [
      'project/node_modules/@s/c/package.json',
      'project/node_modules/a/build/Release/a.node',
      'project/node_modules/a/index.js',
      'project/node_modules/a/node_modules/b/package.json',
      'project/node_modules/a/package.json',
    ]);
    put('package.json', manifest({ gone: '1' }));
    await assert.rejects(names({ packages: true }), /the package gone, which .* needs, is not installed/);
  });

  it('where katafleet is itself an installed package, those beside it', async () => {
    put('app/node_modules/katafleet/package.json', manifest({ x: '1' }));
    put('app/node_modules/x/package.json', manifest());
    assert.deepEqual(await names({ packages: true }, join(folder, 'app/node_modules/katafleet')), ['project/node_modules/x/package.json']);
  });

  it('is all that package-lock.json has for production, and nothing else', async () => {
    const root = fileURLToPath(new URL('../../', import.meta.url));
    const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as {
      packages: Record<string, { dev?: boolean }>;
    };
    const locked = Object.entries(packages).flatMap(([place, { dev }]) =>
      place !== '' && !dev && existsSync(join(root, place)) ? [place] : [],
    );
    // The types that a library of production names are production to npm; some are there for a peer alone.
    const found = (await productionPackages(root)).map(({ place }) => place);
    assert.deepEqual(
      found.filter((place) => !locked.includes(place)),
      [],
    );
    assert.deepEqual(
      locked.filter((place) => !found.includes(place)),
      [],
    );
  });

  it('has the Node that builds, if the engine can run it', async () => {
    const given = { project: [], packages: false, node: true };
    const [node, packages] = await projectContext(given, fingerprint, 'copied', folder);
    assert.deepEqual([node?.name, node?.mode, node?.size], ['node/bin/node', 0o755, statSync(process.execPath).size]);
    assert.deepEqual([packages?.name, packages?.size], ['node/share/katafleet/packages', 0]);
    const other = { ...fingerprint, architecture: 'other' as const };
    await assert.rejects(projectContext(given, other, 'copied', folder), /this machine's Node is for/);
  });

  it("has the name of Debian's package where Node comes by that", async () => {
    const files = await projectContext({ project: [], packages: false, node: true }, fingerprint, 'apt', folder);
    assert.deepEqual(
      files.map(({ name }) => name),
      ['node/share/katafleet/packages'],
    );
    const bytes: Buffer[] = [];
    for await (const chunk of files[0]?.read() ?? []) bytes.push(chunk);
    assert.equal(Buffer.concat(bytes).toString(), 'nodejs\n');
  });
});

describe('recipes', () => {
  it('ours are valid, and their cases name files that exist', async () => {
    const recipes = await readRecipes();
    assert.deepEqual([...recipes.keys()].sort(), ['build-essential', 'gcc-assert', 'katafleet', 'python-unittest']);
    const gcc = recipes.get('gcc-assert');
    assert.deepEqual(
      gcc?.cases.map(({ light }) => light),
      ['red', 'amber', 'green'],
    );
    const files = await startPointFiles(join(recipesFolder, 'gcc-assert'), 'start_point', 'cases/green');
    assert.equal(files.length, 5);
    assert.ok(
      files.some(({ path, content }) => path === 'hiker.c' && content instanceof Uint8Array && Buffer.from(content).includes('6 * 7')),
    );
  });

  it('are built after what they stand on', () => {
    const recipes = new Map<string, Pick<Recipe, 'from'>>([
      ['c', on('b')],
      ['b', on('a')],
      ['a', { from: { debian: 'bookworm' } }],
      ['d', on('a')],
    ]);
    assert.deepEqual(buildOrder(recipes, ['c']), ['a', 'b', 'c']);
    assert.deepEqual(buildOrder(recipes, []), ['a', 'b', 'c', 'd']);
    const service = new Map<string, Pick<Recipe, 'from'> & { service?: boolean }>([...recipes, ['s', { ...on('a'), service: true }]]);
    assert.deepEqual(
      [buildOrder(service, []), buildOrder(service, ['s'])],
      [
        ['a', 'b', 'c', 'd'],
        ['a', 's'],
      ],
    );
    assert.throws(() => buildOrder(recipes, ['x']), code('recipe.unknown'));
    assert.throws(
      () =>
        buildOrder(
          new Map<string, Pick<Recipe, 'from'>>([
            ['a', on('b')],
            ['b', on('a')],
          ]),
          ['a'],
        ),
      /a → b → a/,
    );
  });

  it('report the recipe’s advice if a proof fails', async () => {
    const recipe = (await readRecipes()).get('katafleet');
    assert.ok(recipe);
    const linker = "node: /lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.38' not found (required by node)\n";
    const step = { stdout: Buffer.alloc(0), stderr: Buffer.from(linker) };
    const run = () => Promise.resolve({ outcome: { kind: 'exited', code: 1 }, steps: [step] } as unknown as RunResult);
    const told = (error: unknown) =>
      error instanceof KatafleetError &&
      error.code === 'proof.failed' &&
      /node --version: exited with 1[^]*GLIBC_2\.38/.test(error.message) &&
      /use one from https:\/\/nodejs\.org/.test(error.hint ?? '');
    await assert.rejects(
      prove(recipe, 'sha256:1', run, () => undefined),
      told,
    );
  });

  it('report where they are not valid', () => {
    const base = 'description: x\nfrom: { debian: bookworm }\n';
    assert.throws(() => parseRecipe('description: [', 'x'), code('recipe.invalid'));
    assert.throws(() => parseRecipe(`${base}unknown: 1`, 'x'), /unknown/i);
    assert.throws(() => parseRecipe(`${base}start_point: ../../etc`, 'x'), /start_point/);
    assert.throws(() => parseRecipe(`${base}context: { project: [../secret] }`, 'x'), /context\.project/);
    assert.throws(() => parseRecipe(`${base}proofs: [{ argv: [x], stdout: '(?!x)' }]`, 'x'), /RE2/);
    assert.throws(() => parseRecipe(`${base}cases: [{ light: red }]`, 'x'), /cases need/);
  });
});
