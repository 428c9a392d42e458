import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { Worker, type WorkerOptions } from 'node:worker_threads';

/**
 * Returns the path of a file or folder of this package, given from the package's root, such as `stacks/`. The root is two folders up
 * from src/base, dist/base and dist/bundle alike. The bundle joins modules of many folders, so no other module uses import.meta.url.
 */
export const inPackage = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url));

/**
 * Starts a thread that runs a module of this package, given from src without its ending. The bundle does not have such modules in it: the
 * thread runs what tsc made. From src it runs the TypeScript, which tsx reads only if it is told so in each thread.
 */
export function startThread(module: string, options: WorkerOptions): Worker {
  if (!import.meta.url.endsWith('.ts')) return new Worker(inPackage(`dist/${module}.js`), options);
  const api = join(dirname(createRequire(import.meta.url).resolve('tsx/package.json')), 'dist/esm/api/index.mjs');
  const [loader, file] = [api, inPackage(`src/${module}.ts`)].map((path) => pathToFileURL(path).href);
  const code = `import(${JSON.stringify(loader)}).then(({ register }) => (register(), import(${JSON.stringify(file)})));`;
  return new Worker(code, { ...options, eval: true });
}
