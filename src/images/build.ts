import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type Dockerode from 'dockerode';
import tar from 'tar-stream';
import { KatafleetError } from '../model/errors.ts';
import { labels } from '../model/labels.ts';
import type { Fingerprint } from '../drivers/contract.ts';
import { inspectImage } from '../drivers/docker/inspect.ts';
import { supervisorBinary } from '../drivers/docker/supervisor.ts';
import { debianBase, type Progress } from './base.ts';
import { contextBytes, type ContextFile, projectContext } from './context.ts';
import { hostNode, type NodePlan, planNode } from './host-node.ts';
import type { Recipe } from './recipe.ts';

/** The repository where a recipe's image gets the tag `latest`, after it was proved. */
export const imageRepository = (name: string): string => `katafleet/${name}`;

export interface Built {
  id: string;
  /** Whether the tagged image is up to date with the recipe. */
  fresh: boolean;
}

/** Builds a recipe's image without a tag: it gets one after it is proved. @throws build.failed, base.unavailable */
export async function build(docker: Dockerode, node: Fingerprint, recipe: Recipe, progress: Progress): Promise<Built> {
  // Fails at once if this machine lacks something: making a base takes minutes.
  const plan = recipe.context?.node ? planNode(await hostNode()) : undefined;
  const context = await contextOf(recipe, node, plan);
  const base = await baseOf(docker, recipe, plan, progress);
  const hash = await contextHash(base, recipe, context);
  const tagged = await inspectImage(docker, `${imageRepository(recipe.name)}:latest`);
  if (tagged && (tagged.Config.Labels as Record<string, string> | null)?.[labels.recipeHash] === hash)
    return { id: tagged.Id, fresh: true };
  const stream = await docker.buildImage(pack(context), {
    buildargs: { BASE: base },
    labels: await labelsOf(recipe, hash, node),
    // Uses the node's own network: an engine without a bridge can build then, and the node's resolver is used.
    networkmode: 'host',
    rm: true,
    forcerm: true,
  });
  return { id: await follow(docker, stream, recipe, progress), fresh: false };
}

async function baseOf(docker: Dockerode, { from, name }: Recipe, plan: NodePlan | undefined, progress: Progress): Promise<string> {
  if ('debian' in from) return debianBase(docker, plan?.suite ?? from.debian, progress);
  const base = await inspectImage(docker, `${imageRepository(from.recipe)}:latest`);
  if (!base) throw new KatafleetError('build.failed', `${name} is built on ${from.recipe}, which this node does not have`);
  return base.Id;
}

async function contextOf(recipe: Recipe, node: Fingerprint, plan: NodePlan | undefined): Promise<ContextFile[]> {
  const context: ContextFile[] = [];
  for (const entry of (await readdir(recipe.folder, { withFileTypes: true })).sort((a, b) => (a.name < b.name ? -1 : 1))) {
    // Folders hold start-points and cases. The proof uses those; the image does not.
    if (entry.isFile() && entry.name !== 'recipe.yaml')
      context.push(contextBytes(entry.name, 0o644, await readFile(join(recipe.folder, entry.name))));
  }
  if (recipe.supervisor) context.push(contextBytes('supervisor', 0o555, (await supervisorFor(node)).bytes));
  return recipe.context ? [...context, ...(await projectContext(recipe.context, node, plan?.node))] : context;
}

function supervisorFor({ architecture, node }: Fingerprint): ReturnType<typeof supervisorBinary> {
  if (architecture === 'other') throw new KatafleetError('build.failed', `the node ${node} is neither amd64 nor arm64`);
  return supervisorBinary(architecture);
}

async function contextHash(base: string, recipe: Recipe, context: readonly ContextFile[]): Promise<string> {
  const { command, lights, proofs, cases } = recipe;
  const hash = createHash('sha256').update(JSON.stringify([base, command, lights, proofs, cases]));
  for (const { name, mode, size, read } of context) {
    hash.update(JSON.stringify([name, mode, size]));
    for await (const bytes of read()) hash.update(bytes);
  }
  return hash.digest('hex');
}

async function labelsOf(recipe: Recipe, hash: string, node: Fingerprint): Promise<Record<string, string>> {
  return {
    [labels.recipe]: recipe.name,
    [labels.recipeHash]: hash,
    ...(recipe.supervisor ? { [labels.supervisor]: (await supervisorFor(node)).sha256 } : {}),
    ...(recipe.service ? { [labels.service]: 'yes' } : {}),
    ...(recipe.lights ? { [labels.lights]: JSON.stringify(recipe.lights) } : {}),
    ...(recipe.command ? { [labels.command]: JSON.stringify(recipe.command) } : {}),
  };
}

/** Packs the context as a tar, one file after another at the pace of the engine. */
function pack(context: readonly ContextFile[]): Readable {
  const archive = tar.pack();
  void (async () => {
    for (const { name, mode, size, read } of context) {
      await new Promise<void>((resolve, reject) => {
        const entry = archive.entry({ name, mode, size, mtime: new Date(0) }, (error) => (error ? reject(error) : resolve()));
        pipeline(Readable.from(read()), entry).catch(reject);
      });
    }
    archive.finalize();
  })().catch((error: unknown) => archive.destroy(error instanceof Error ? error : new Error(String(error))));
  return Readable.from(archive, { objectMode: false });
}

/** One line of the engine's answer to a build. */
interface BuildLine {
  stream?: string;
  error?: string;
  aux?: { ID?: string };
}

async function follow(docker: Dockerode, stream: NodeJS.ReadableStream, recipe: Recipe, progress: Progress): Promise<string> {
  let id: string | undefined;
  let failure: string | undefined;
  const said: string[] = [];
  const take = (line: BuildLine) => {
    id = line.aux?.ID ?? /^Successfully built ([0-9a-f]+)/.exec(line.stream ?? '')?.[1] ?? id;
    failure = line.error ?? failure;
    const text = line.stream?.trim();
    if (!text) return;
    said.push(text);
    if (said.length > 20) said.shift();
    progress(text);
  };
  await new Promise<void>((resolve, reject) => {
    docker.modem.followProgress(stream, (error: Error | null) => (error ? reject(error) : resolve()), take);
  }).catch((error: unknown) => {
    failure ??= error instanceof Error ? error.message : String(error);
  });
  if (failure !== undefined) throw new KatafleetError('build.failed', `${recipe.name} was not built: ${failure}\n${said.join('\n')}`);
  const built = id === undefined ? undefined : await inspectImage(docker, id);
  if (!built) throw new KatafleetError('build.failed', `the engine built ${recipe.name} but did not give the id of the image`);
  return built.Id;
}
