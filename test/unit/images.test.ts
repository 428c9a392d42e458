import assert from 'node:assert/strict';
import { join } from 'node:path';
import { KatafleetError } from '../../src/core/errors.ts';
import { buildOrder, parseRecipe, readRecipes, type Recipe, recipesFolder } from '../../src/images/recipe.ts';
import { startPointFiles } from '../../src/images/start-point.ts';

const code = (expected: string) => (error: unknown) => error instanceof KatafleetError && error.code === expected;
const on = (recipe: string): Pick<Recipe, 'from'> => ({ from: { recipe } });

describe('recipes', () => {
  it('ours are valid, and their cases name files that exist', async () => {
    const recipes = await readRecipes();
    assert.deepEqual([...recipes.keys()].sort(), ['build-essential', 'gcc-assert', 'python-unittest']);
    const gcc = recipes.get('gcc-assert');
    assert.deepEqual(
      gcc?.cases.map(({ light }) => light),
      ['red', 'amber', 'green'],
    );
    const files = await startPointFiles(join(recipesFolder, 'gcc-assert/start_point'), join(recipesFolder, 'gcc-assert/cases/green'));
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

  it('that are not valid say where', () => {
    const base = 'description: x\nfrom: { debian: bookworm }\n';
    assert.throws(() => parseRecipe('description: [', 'x'), code('recipe.invalid'));
    assert.throws(() => parseRecipe(`${base}unknown: 1`, 'x'), /unknown/i);
    assert.throws(() => parseRecipe(`${base}start_point: ../../etc`, 'x'), /start_point/);
    assert.throws(() => parseRecipe(`${base}proofs: [{ argv: [x], stdout: '(?!x)' }]`, 'x'), /RE2/);
    assert.throws(() => parseRecipe(`${base}cases: [{ light: red }]`, 'x'), /cases need/);
  });
});
