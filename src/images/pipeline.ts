import type { Katafleet } from '../index.ts';
import { engineError } from '../drivers/engine/errors.ts';
import { build, imageTag } from './build.ts';
import { prove } from './prove.ts';
import { buildOrder, readRecipes } from './recipe.ts';

export interface ImageEvents {
  /** A recipe's work begins. */
  begin(name: string, index: number, count: number): void;
  progress(name: string, line: string): void;
  done(name: string, how: 'built' | 'up to date', ms: number): void;
}

/** Builds, proves and tags the named recipes, or all, in the order that they stand on each other. @throws recipe.*, build.failed, proof.failed */
export async function buildImages(fleet: Katafleet, names: readonly string[], events: ImageEvents, folder?: string): Promise<void> {
  const recipes = await readRecipes(folder);
  const order = buildOrder(recipes, names);
  await fleet.open();
  const docker = await fleet.driver.client();
  const node = await fleet.driver.probe();
  for (const [index, name] of order.entries()) {
    const recipe = recipes.get(name);
    if (!recipe) continue;
    const begun = performance.now();
    events.begin(name, index + 1, order.length);
    const progress = (line: string) => events.progress(name, line);
    try {
      const built = await build(docker, node, recipe, progress);
      if (!built.fresh) {
        await prove(recipe, built.id, (request) => fleet.run(request), progress);
        const [repo, tag] = imageTag(name).split(':');
        await docker.getImage(built.id).tag({ repo, tag });
        fleet.forget(name);
      }
      events.done(name, built.fresh ? 'up to date' : 'built', performance.now() - begun);
    } catch (error) {
      throw engineError(error, fleet.driver.endpoint, `build ${name}`);
    }
  }
}
