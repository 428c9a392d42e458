// dist/bundle/load.mjs: a part of the bundled command line, compiled with the code that V8 made of it when it was built.
// Compiling takes longer than all else that a short command does. Code of another release of Node is not taken, and not missed.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { constants, Script } from 'node:vm';

const here = dirname(fileURLToPath(import.meta.url));
const builtIn = createRequire(import.meta.url);

/** What the parts were compiled to, by their file. */
export const scripts = new Map();
const modules = new Map();
/** Where the code of a part lies: V8 does not see whether code was made on another kind of machine, for which it is not good. */
export const codeOf = (file) => `${file}.${process.platform}-${process.arch}.code`;

/** What a part exports. One part asks for another by its name. */
export function load(part) {
  const loaded = modules.get(part);
  if (loaded) return loaded.exports;
  const file = `${here}/${part}`;
  // It is ASCII alone, which latin1 reads faster.
  const source = `(function (exports, require, module, __filename, __dirname) {${readFileSync(file, 'latin1')}\n})`;
  const importModuleDynamically = constants.USE_MAIN_CONTEXT_DEFAULT_LOADER;
  const script = new Script(source, { filename: file, cachedData: codeFor(file), importModuleDynamically });
  const module = { exports: {} };
  modules.set(part, module);
  const require = (name) => (name.startsWith('./') ? load(name.slice(2)) : builtIn(name));
  require.resolve = builtIn.resolve;
  script.runInThisContext()(module.exports, require, module, file, here);
  scripts.set(file, script);
  return module.exports;
}

function codeFor(file) {
  try {
    return readFileSync(codeOf(file));
  } catch {
    return undefined; // not made, or not to be read: it is compiled as ever
  }
}
