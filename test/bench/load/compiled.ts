import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

/**
 * Compiles a module of this folder with all it imports but packages, and returns the path of the one file. A server that is measured must
 * not run under tsx, whose loader wraps each function to keep its name. The file is two folders below the root, as in dist/.
 */
export async function compiled(name: string): Promise<string> {
  const outfile = fileURLToPath(new URL(`../../../.cache/bench/${basename(name)}.mjs`, import.meta.url));
  await build({
    entryPoints: [fileURLToPath(new URL(`../../../test/bench/load/${name}.ts`, import.meta.url))],
    outfile,
    bundle: true,
    packages: 'external',
    format: 'esm',
    platform: 'node',
    target: 'node20.19',
    sourcemap: true,
    logLevel: 'warning',
  });
  return outfile;
}
