import { createReadStream } from 'node:fs';
import { readdir, readFile, realpath, stat } from 'node:fs/promises';
import { dirname, join, sep } from 'node:path';
import { inPackage } from '../base/package-folder.ts';
import { KatafleetError } from '../model/errors.ts';
import type { Fingerprint } from '../drivers/contract.ts';
import type { NodePlan } from './host-node.ts';
import type { ProjectContext } from './recipe.ts';

/** A file of a build's context. */
export interface ContextFile {
  /** Its path in the context. */
  name: string;
  mode: number;
  size: number;
  /** Reads the file when it is needed, so that the whole project need not be in memory. */
  read: () => AsyncIterable<Buffer>;
}

/** The root of the project, the same from src/ and from dist/. */
const projectRoot = inPackage('');

export function contextBytes(name: string, mode: number, bytes: Buffer): ContextFile {
  return {
    name,
    mode,
    size: bytes.length,
    read: async function* () {
      yield await Promise.resolve(bytes);
    },
  };
}

/**
 * Returns the files of katafleet itself that a recipe's build context gets: `project/` with the named files and `node_modules/`, and
 * `node/`, the content of the image's /usr/local. That is `bin/node`, or `share/katafleet/packages` with the names of Debian's
 * packages, if Node is installed from those. In the image another user reads the files, so their modes allow all to read.
 * @throws build.failed for a file that is missing or does not fit the node
 */
export async function projectContext(
  given: ProjectContext,
  node: Fingerprint,
  how: NodePlan['node'] = 'copied',
  root = projectRoot,
): Promise<ContextFile[]> {
  const files = await namedFiles(given.project, root);
  if (given.packages) {
    for (const { folder, place } of await productionPackages(root)) {
      for (const path of await filesBelow(folder, (name) => name === 'node_modules')) {
        if (isNeeded(path)) files.push(await contextFile(join(folder, path), `project/${place}/${path}`));
      }
    }
  }
  if (given.node) {
    const binary = await nodeBinary(node);
    if (how === 'copied') files.push(binary);
    files.push(contextBytes('node/share/katafleet/packages', 0o644, Buffer.from(how === 'copied' ? '' : 'nodejs\n')));
  }
  return files.sort((a, b) => (a.name < b.name ? -1 : 1));
}

async function namedFiles(project: readonly string[], root: string): Promise<ContextFile[]> {
  const without = project.filter((path) => path.startsWith('!')).map((path) => path.slice(1));
  const left = (path: string) => without.some((other) => path === other || path.startsWith(`${other}/`));
  const files: ContextFile[] = [];
  for (const named of project.filter((path) => !path.startsWith('!'))) {
    const at = join(root, named);
    const found = await stat(at).catch((cause: unknown) => {
      throw new KatafleetError('build.failed', `${named}, which the image needs, is missing (${at})`, {
        cause,
        hint: 'npm run build',
      });
    });
    const paths = found.isDirectory() ? (await filesBelow(at)).map((path) => `${named}/${path}`) : [named];
    for (const path of paths) if (!left(path)) files.push(await contextFile(join(root, path), `project/${path}`));
  }
  return files;
}

/** Whether a path is needed at run time: types, maps and the sources of native packages are not. */
function isNeeded(path: string): boolean {
  if (/\.(d\.[cm]?ts|map|md|markdown|o|a|cc|cpp|c|h|gypi?|mk)$/i.test(path)) return false;
  return !/(^|\/)(deps|obj|obj\.target|\.deps)\//.test(path) || /\.(node|[cm]?js|json)$/.test(path);
}

async function filesBelow(folder: string, skip: (name: string) => boolean = () => false): Promise<string[]> {
  const paths: string[] = [];
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    if (skip(entry.name)) continue;
    if (entry.isDirectory()) paths.push(...(await filesBelow(join(folder, entry.name), skip)).map((path) => `${entry.name}/${path}`));
    else if (entry.isFile()) paths.push(entry.name);
  }
  return paths;
}

async function contextFile(file: string, name: string): Promise<ContextFile> {
  const { mode, size } = await stat(file);
  return { name, size, mode: mode & 0o100 || name.endsWith('/dist/main.js') ? 0o755 : 0o644, read: () => createReadStream(file) };
}

/** Returns the Node that runs this process: no registry is needed for it, and the packages were installed for it. */
async function nodeBinary({ architecture, node }: Fingerprint): Promise<ContextFile> {
  const own = process.arch === 'x64' ? 'amd64' : process.arch;
  if (process.platform !== 'linux' || own !== architecture) {
    throw new KatafleetError(
      'build.failed',
      `this machine's Node is for ${process.platform} and ${own}, and the image for linux and ${architecture}, as ${node} is`,
      { hint: `build it on a machine with Linux and ${architecture}; katafleet images distribute brings it to others` },
    );
  }
  return { ...(await contextFile(await realpath(process.execPath), 'node/bin/node')), mode: 0o755 };
}

/** A package that the project needs to run: its folder, and its place below the project. */
export interface PlacedPackage {
  folder: string;
  place: string;
}

/**
 * Returns the packages that the project depends on in production, and their dependencies. They are found as Node finds them: below the
 * project, or beside it if the project is itself an installed package.
 * @throws build.failed for a package that is not installed
 */
export async function productionPackages(root = projectRoot): Promise<PlacedPackage[]> {
  const base = root.endsWith(sep) ? root.slice(0, -1) : root;
  const found = new Map<string, string>();
  const visit = async (folder: string): Promise<void> => {
    const { dependencies = {}, optionalDependencies = {} } = JSON.parse(
      await readFile(join(folder, 'package.json'), 'utf8'),
    ) as PackageJson;
    for (const name of Object.keys({ ...dependencies, ...optionalDependencies }).sort()) {
      const at = await resolvePackage(name, folder);
      if (at === undefined) {
        if (name in optionalDependencies) continue;
        throw new KatafleetError('build.failed', `the package ${name}, which ${folder} needs, is not installed`, { hint: 'npm ci' });
      }
      const place = placeOf(at, base);
      const other = found.get(place);
      if (other === at) continue;
      if (other !== undefined) {
        throw new KatafleetError('build.failed', `two packages would have the same place ${place}: ${other} and ${at}`, {
          hint: 'build the image from a clone of katafleet, after npm ci',
        });
      }
      found.set(place, at);
      await visit(at);
    }
  };
  await visit(base);
  return Array.from(found, ([place, folder]) => ({ folder, place })).sort((a, b) => (a.place < b.place ? -1 : 1));
}

interface PackageJson {
  dependencies?: Record<string, string>;
  optionalDependencies?: Record<string, string>;
}

async function resolvePackage(name: string, from: string): Promise<string | undefined> {
  for (let folder = from; ; folder = dirname(folder)) {
    const at = join(folder, 'node_modules', name);
    const there = await stat(join(at, 'package.json')).catch(() => undefined); // it may be in the next folder up
    if (there) return at;
    if (dirname(folder) === folder) return undefined;
  }
}

/** A package below the project keeps its place; a package beside the project is placed in its node_modules. */
function placeOf(at: string, root: string): string {
  const within = at.startsWith(root + sep) ? at.slice(root.length + 1) : at.slice(at.indexOf(`${sep}node_modules${sep}`) + 1);
  return within.split(sep).join('/');
}
