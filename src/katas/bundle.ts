import { stat, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { GiB, MiB } from '../base/units.ts';
import { KatafleetError, messageOf } from '../model/errors.ts';
import { formatBytes } from '../model/quantity.ts';
import { branch } from './fast-import.ts';
import type { Git } from './git.ts';
import { AvatarName, namesGitFolder, startBranch } from './names.ts';
import type { Places } from './places.ts';
import { readHistory, readSnapshot, readTip } from './read.ts';
import type { KataRecord } from './record.ts';
import { makeRepository } from './repository.ts';
import { kataLimits } from './kata-files.ts';

/** Bounds of a bundle from an untrusted source, and of its unpacked content: a pack of a kilobyte can hold gigabytes of zeros. */
export const bundleLimits = {
  file: 256 * MiB,
  bytes: GiB,
  object: 128 * MiB,
  objects: 500_000,
  branches: 1_000,
  tests: 1_000_000,
  ms: 120_000,
} as const;

/**
 * Writes a kata as one bundle, with a branch for each avatar and one for the start-point. It is written from an empty repository that
 * borrows the objects of the others, which are only read.
 * @throws output.unwritable
 */
export async function exportBundle(git: Git, places: Places, kata: string, avatars: readonly string[], file: string): Promise<void> {
  const sources = [
    { name: startBranch, repository: places.start(kata) },
    ...avatars.map((name) => ({ name, repository: places.repository(kata, name) })),
  ];
  const tips = sources.map((source) => ({ ...source, tip: readTip(source.repository) }));
  const there = tips.filter(({ tip }) => tip !== undefined);
  const env = {
    GIT_ALTERNATE_OBJECT_DIRECTORIES: there.map(({ repository }) => JSON.stringify(join(resolve(repository), 'objects'))).join(':'),
  };
  await places.staged(async (folder) => {
    const repository = join(folder, 'export.git');
    await makeRepository(git, repository);
    const refs = there.map(({ name, tip }) => `create refs/heads/${name} ${tip ?? ''}\n`).join('');
    await git.run(repository, ['update-ref', '--stdin'], { env, input: Buffer.from(refs) });
    await git.run(repository, ['symbolic-ref', 'HEAD', `refs/heads/${avatars.length === 1 ? (avatars[0] ?? startBranch) : startBranch}`], {
      env,
    });
    try {
      await git.run(repository, ['bundle', 'create', '--quiet', resolve(file), 'HEAD', '--branches'], { env, timeoutMs: 600_000 });
    } catch (cause) {
      throw new KatafleetError('output.unwritable', `can't write the bundle ${file}: ${messageOf(cause)}`, { cause });
    }
  });
}

/**
 * Unpacks a bundle below a folder, as a kata. First it is fetched into a temporary repository, where git's own fsck checks every object
 * and the bounds are applied. Only then its branches are fetched into new repositories. A bundle has no hooks and no configuration, and
 * none of its files is checked out.
 * @throws bundle.invalid
 */
export async function importBundle(git: Git, file: string, folder: string, id: string | undefined): Promise<KataRecord> {
  const quarantine = join(folder, 'quarantine.git');
  await makeRepository(git, quarantine);
  const heads = await unfold(git, file, quarantine);
  const record = await checked(git, quarantine, heads);
  for (const name of heads.keys()) {
    const target = name === startBranch ? join(folder, 'start.git') : join(folder, 'avatars', name, 'repository.git');
    await makeRepository(git, target);
    await fetch(git, target, quarantine, `refs/heads/${name}:${branch}`);
  }
  await rm(quarantine, { recursive: true });
  return { ...record, ...(id === undefined ? {} : { id }) };
}

/** Returns the bundle's branches by name. */
async function unfold(git: Git, file: string, quarantine: string): Promise<Map<string, string>> {
  const found = await stat(file).catch((cause: unknown) => {
    throw new KatafleetError('file.unreadable', `no bundle ${file}: ${messageOf(cause)}`, { cause });
  });
  if (!found.isFile()) throw invalid(`${file} is not a file`);
  if (found.size > bundleLimits.file) throw invalid(`it is larger than ${formatBytes(bundleLimits.file)}`);
  const listing = await git.run(quarantine, ['bundle', 'list-heads', resolve(file)]).catch(notGits);
  const heads = new Map<string, string>();
  for (const line of listing.toString('utf8').split('\n').filter(Boolean)) {
    const [, oid = '', ref = ''] = /^([0-9a-f]{40}) (.*)$/.exec(line) ?? [];
    const name = ref.replace(/^refs\/heads\//, '');
    if (ref === 'HEAD') continue;
    if (name === ref || !AvatarName.safeParse(name).success)
      throw invalid(`it holds ${JSON.stringify(ref || line)}, which is not the branch of an avatar`);
    heads.set(name, oid);
  }
  if (!heads.has(startBranch)) throw invalid(`it has no branch ${startBranch}`);
  if (heads.size > bundleLimits.branches) throw invalid(`it has more than ${bundleLimits.branches} branches`);
  await fetch(git, quarantine, resolve(file), 'refs/heads/*:refs/heads/*').catch(notGits);
  return heads;
}

/** Fetches with git's checks; an object takes no more memory than the bound on objects. */
async function fetch(git: Git, repository: string, from: string, refs: string): Promise<void> {
  // .gitmodules and .gitattributes are ordinary files of the person: no program here reads them.
  const lenient = [
    'gitmodulesUrl',
    'gitmodulesPath',
    'gitmodulesName',
    'gitmodulesUpdate',
    'gitmodulesParse',
    'gitmodulesBlob',
    'gitmodulesLarge',
    'gitattributesLarge',
    'gitattributesLineLength',
    'gitattributesBlob',
  ];
  const settings = ['fetch.fsckObjects=true', 'fetch.unpackLimit=1', ...lenient.map((name) => `fetch.fsck.${name}=ignore`)];
  await git.run(
    repository,
    [
      ...settings.flatMap((setting) => ['-c', setting]),
      'fetch',
      '--quiet',
      '--no-tags',
      '--no-write-fetch-head',
      '--end-of-options',
      from,
      refs,
    ],
    { timeoutMs: bundleLimits.ms, env: { GIT_ALLOC_LIMIT: String(2 * bundleLimits.object) } },
  );
}

/** Returns the bundle's kata, after the check that every branch belongs to one of its avatars. */
async function checked(git: Git, quarantine: string, heads: ReadonlyMap<string, string>): Promise<KataRecord> {
  const listed = await git.run(quarantine, ['cat-file', '--batch-all-objects', '--unordered', '--batch-check=%(objectsize)'], {
    timeoutMs: bundleLimits.ms,
  });
  const sizes = listed.toString('ascii').trim().split('\n').map(Number);
  if (sizes.length > bundleLimits.objects) throw invalid(`it holds more than ${bundleLimits.objects} objects`);
  const [total, largest] = sizes.reduce(([sum, most], size) => [sum + size, Math.max(most, size)] as [number, number], [0, 0]);
  if (total > bundleLimits.bytes || largest > bundleLimits.object)
    throw invalid(`it unfolds to ${formatBytes(total)}, its largest object ${formatBytes(largest)}`);
  let record: KataRecord | undefined;
  for (const [name, oid] of heads) {
    const { kata, sandbox } = await readSnapshot(git, quarantine, oid).catch((error: unknown) => {
      throw invalid(`its branch ${name}: ${messageOf(error)}`, error);
    });
    const bytes = Array.from(sandbox.files.values()).reduce((sum, { size }) => sum + size, 0);
    if (sandbox.files.size > kataLimits.files || bytes > kataLimits.bytes)
      throw invalid(`its branch ${name} holds ${sandbox.files.size} files of ${formatBytes(bytes)}`);
    const smuggled = [...sandbox.files.keys()].find(namesGitFolder);
    if (smuggled !== undefined) throw invalid(`its branch ${name} holds ${JSON.stringify(smuggled)}`);
    const [last] = await readHistory(git, quarantine, oid, 1);
    if ((last?.test ?? 0) > bundleLimits.tests) throw invalid(`its branch ${name} claims ${last?.test ?? 0} tests`);
    if (name === startBranch) record = kata;
  }
  if (!record) throw invalid(`it has no branch ${startBranch}`);
  return record;
}

function notGits(cause: unknown): never {
  throw invalid(messageOf(cause), cause);
}

function invalid(why: string, cause?: unknown): KatafleetError {
  return new KatafleetError('bundle.invalid', `the bundle is not one of a kata: ${why}`, {
    ...(cause === undefined ? {} : { cause }),
    hint: 'bundles are made by katafleet kata export',
  });
}
