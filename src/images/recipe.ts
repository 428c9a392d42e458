import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';
import { inPackage } from '../base/package-folder.ts';
import { KatafleetError, messageOf } from '../model/errors.ts';
import { Light, LightRules } from '../model/lights.ts';
import { compilePattern } from '../runs/attempt/lights.ts';

const Pattern = z.string().refine((pattern) => {
  try {
    compilePattern(pattern);
    return true;
  } catch {
    return false;
  }
}, 'is not an RE2 expression');

/** A path in the recipe's folder. */
const Inside = z.string().regex(/^[\w-]+(\/[\w-]+)*$/, 'must be a folder below the recipe');

/** A path in the project. With `!` in front, it is left out of the other paths. */
const InProject = z.string().regex(/^!?[\w-][\w.-]*(\/[\w-][\w.-]*)*$/, 'must be a path in the project, or one with ! in front');

/** The files of katafleet itself that the build context gets. */
const ProjectContext = z.strictObject({
  /** Files and folders, which are placed in `project/`. */
  project: z.array(InProject).default([]),
  /** Whether the packages that it needs in production are placed in `project/node_modules/`. */
  packages: z.boolean().default(false),
  /**
   * Whether Node is placed in `node/`: the one that runs the build, or Debian's instead. The image is then based on this machine's
   * release.
   */
  node: z.boolean().default(false),
});
export type ProjectContext = z.output<typeof ProjectContext>;

/** `recipe.yaml` in a folder below images/: how an image is built, proved and used. */
export const Recipe = z.strictObject({
  description: z.string().min(1),
  /** Another recipe, or a Debian suite to start from. */
  from: z.union([z.strictObject({ recipe: z.string().min(1) }), z.strictObject({ debian: z.string().regex(/^[a-z]+$/) })]),
  /** Whether the supervisor is added to the build context, so that the recipe's Dockerfile can copy it. */
  supervisor: z.boolean().default(false),
  context: ProjectContext.optional(),
  /** Whether it is for one of katafleet's own services, not for runs. It is built and distributed only if it is named. */
  service: z.boolean().default(false),
  /** The command of a run that names none. */
  command: z.array(z.string()).min(1).optional(),
  lights: LightRules.optional(),
  /** A folder with a start-point in cyber-dojo's format. */
  start_point: Inside.optional(),
  /** Commands that must exit with 0 and print text that matches the pattern; `hint` says what to do if one does not. */
  proofs: z
    .array(z.strictObject({ argv: z.array(z.string()).min(1), stdout: Pattern.optional(), hint: z.string().optional() }))
    .default([]),
  /** The start-point with some files replaced, and the light that it must show. */
  cases: z.array(z.strictObject({ light: Light, files: Inside.optional() })).default([]),
});
export type Recipe = z.output<typeof Recipe> & { name: string; folder: string };

/** The folder of the recipes, the same from src/ and from dist/. */
export const recipesFolder = inPackage('images/');

/** Reads every recipe below a folder, by name. @throws recipe.invalid */
export async function readRecipes(folder = recipesFolder): Promise<Map<string, Recipe>> {
  const recipes = new Map<string, Recipe>();
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const at = join(folder, entry.name);
    if (!entry.isDirectory() || !(await readdir(at)).includes('recipe.yaml')) continue;
    recipes.set(entry.name, { name: entry.name, folder: at, ...parseRecipe(await readFile(join(at, 'recipe.yaml'), 'utf8'), entry.name) });
  }
  return recipes;
}

/** @throws recipe.invalid */
export function parseRecipe(text: string, name: string): z.output<typeof Recipe> {
  const invalid = (why: string) => new KatafleetError('recipe.invalid', `the recipe ${name} is not valid: ${why}`);
  let read: unknown;
  try {
    read = parse(text);
  } catch (error) {
    throw invalid(messageOf(error));
  }
  const parsed = Recipe.safeParse(read);
  if (!parsed.success) throw invalid(parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`).join('; '));
  if (parsed.data.cases.length > 0 && !(parsed.data.start_point && parsed.data.lights && parsed.data.command)) {
    throw invalid('cases need start_point, lights and command');
  }
  return parsed.data;
}

/**
 * Returns the wanted recipes (if none is named, all that are for runs) and those that they are based on, bases first.
 * @throws recipe.unknown, recipe.invalid
 */
export function buildOrder(
  recipes: ReadonlyMap<string, Pick<Recipe, 'from'> & { service?: boolean }>,
  wanted: readonly string[],
): string[] {
  const order: string[] = [];
  const visit = (name: string, above: readonly string[]): void => {
    if (order.includes(name)) return;
    const recipe = recipes.get(name);
    if (!recipe) {
      const known = [...recipes.keys()].sort().join(', ');
      throw new KatafleetError(
        'recipe.unknown',
        `no recipe "${name}"${above.length > 0 ? `, which ${above.at(-1)} is built on` : ''}; there are: ${known}`,
      );
    }
    if (above.includes(name))
      throw new KatafleetError('recipe.invalid', `recipes are built on each other in a circle: ${[...above, name].join(' → ')}`);
    if ('recipe' in recipe.from) visit(recipe.from.recipe, [...above, name]);
    order.push(name);
  };
  const all = [...recipes].flatMap(([name, { service }]) => (service ? [] : [name])).sort();
  for (const name of wanted.length > 0 ? wanted : all) visit(name, []);
  return order;
}
