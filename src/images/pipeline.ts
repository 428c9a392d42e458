import type Dockerode from 'dockerode';
import type { RunRequest } from '../model/request.ts';
import type { RunResult } from '../model/result.ts';
import type { Fingerprint } from '../drivers/contract.ts';
import { engineError } from '../drivers/docker/errors.ts';
import { build, imageRepository } from './build.ts';
import { prove } from './prove.ts';
import { buildOrder, readRecipes } from './recipe.ts';

/** What the pipeline needs of a node: its engine for building, and runs for proving. */
export interface BuildNode {
  endpoint: string;
  docker: Dockerode;
  fingerprint: Fingerprint;
  run(request: RunRequest): Promise<RunResult>;
}

export interface ImageEvents {
  /** Called when the work on a recipe begins. */
  begin(name: string, index: number, count: number): void;
  progress(name: string, line: string): void;
  done(name: string, how: 'built' | 'up to date', ms: number): void;
}

/**
 * Builds, proves and tags the named recipes, or all. A recipe comes after those that it is based on.
 * @throws recipe.*, build.failed, proof.failed
 */
export async function buildImages(node: BuildNode, names: readonly string[], events: ImageEvents, folder?: string): Promise<void> {
  const recipes = await readRecipes(folder);
  const order = buildOrder(recipes, names);
  for (const [index, name] of order.entries()) {
    const recipe = recipes.get(name);
    if (!recipe) continue;
    const begun = performance.now();
    events.begin(name, index + 1, order.length);
    const progress = (line: string) => events.progress(name, line);
    try {
      const built = await build(node.docker, node.fingerprint, recipe, progress);
      if (!built.fresh) {
        await prove(recipe, built.id, (request) => node.run(request), progress);
        await node.docker.getImage(built.id).tag({ repo: imageRepository(name), tag: 'latest' });
      }
      events.done(name, built.fresh ? 'up to date' : 'built', performance.now() - begun);
    } catch (error) {
      throw engineError(error, node.endpoint, `build ${name}`);
    }
  }
}
