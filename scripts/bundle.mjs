// The command line in a few files in place of some 800, with the code that V8 makes of
// them beside: reading and compiling modules is most of what `katafleet run` takes before it does anything. Takes dist/ as
// tsc left it and puts dist/main.js and dist/bundle/ in place of what stands there; the library (dist/app/library.js) stays as it is.
import { copyFile, readFile, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, resolve } from 'node:path';
import process from 'node:process';
import { build } from 'esbuild';

/**
 * What dockerode loads at its start and katafleet never calls: ssh goes through OpenSSH, builds through the classic
 * builder. Whoever does call it is told.
 */
const never = {
  ssh2: 'exports.Client = class { constructor() { throw new Error("ssh2 is left out: ssh goes through OpenSSH"); } };',
  protobufjs: leftOut('protobufjs'),
  '@grpc/grpc-js': leftOut('gRPC'),
  '@grpc/proto-loader': leftOut('gRPC'),
};

function leftOut(what) {
  return `module.exports = new Proxy({}, { get(_, name) { throw new Error("${what} is left out, and was asked for " + String(name)); } });`;
}

const leaveOut = {
  name: 'leave-out',
  setup(it) {
    it.onResolve({ filter: /^(ssh2|protobufjs|@grpc\/(grpc-js|proto-loader))$/ }, ({ path }) => ({ path, namespace: 'left-out' }));
    it.onLoad({ filter: /.*/, namespace: 'left-out' }, ({ path }) => ({ contents: never[path], loader: 'js' }));
    // zod's messages in some sixty languages: ours are in one.
    it.onLoad({ filter: /zod\/v4\/locales\/index\.js$/ }, () => ({ contents: "export { default as en } from './en.js';", loader: 'js' }));
  },
};

/**
 * The parts that commands are in, by their files: `run` is read by people who wait for it and has a part of its own, so that it
 * reads nothing of the service's; all others share one.
 */
const partOf = (file) => (file === './commands/run.ts' ? 'run.cjs' : 'commands.cjs');

/** In the part that lists them, each command is asked of its own part. */
const commandsApart = {
  name: 'commands-apart',
  setup(it) {
    it.onResolve({ filter: /^\.\/commands\/[\w-]+\.ts$/ }, ({ kind, path }) =>
      kind === 'dynamic-import' ? { path: `./${partOf(path)}`, external: true } : undefined,
    );
  },
};

/** All parts are given the one commander. */
const commanderApart = {
  name: 'commander-apart',
  setup(it) {
    it.onResolve({ filter: /^commander$/ }, () => ({ path: './commander.cjs', external: true }));
  },
};

/** Packages, parts of Node and parts of ours that a command may come to need and most don't: making their schemas and tables takes milliseconds. */
const rare = {
  packages: /^(node-cron|re2js|tar-fs|tar-stream|yaml|(node:)?(child_process|https|zlib))$/,
  files: /\/src\/(?:(client|deploy|drivers\/ssh|drivers\/swarm|images|katas|rsync)\/[\w/-]+|app\/daemon|model\/(?:request-)?json)\.ts$/,
};

/** What is rare is loaded when the first of its exports is used; from within its folder it is imported as ever. */
const whenUsed = {
  name: 'when-used',
  setup(it) {
    const folderOf = (path) => rare.files.exec(path)?.[1];
    // By its file: who asks may have a version of its own, and whoever was looked at first would decide for all.
    it.onResolve({ filter: rare.packages }, ({ path, resolveDir, namespace }) =>
      namespace === 'when-used'
        ? undefined
        : { path: createRequire(`${resolveDir}/`).resolve(path), namespace: 'when-used', pluginData: resolveDir },
    );
    it.onResolve({ filter: /^\.{1,2}\/.*\.ts$/ }, ({ path, resolveDir, importer, kind }) => {
      const file = resolve(resolveDir, path);
      if (kind !== 'import-statement' || !rare.files.test(file)) return undefined;
      return folderOf(file) === undefined || folderOf(file) !== folderOf(importer)
        ? { path: file, namespace: 'when-used', pluginData: dirname(file) }
        : undefined;
    });
    it.onLoad({ filter: /.*/, namespace: 'when-used' }, async ({ path, pluginData }) => {
      const names = await exportsOf(path, pluginData);
      const getters = names.map((name) => `get ${name}() { return (it ??= require(${JSON.stringify(path)})).${name}; },`);
      return { contents: `let it;\nmodule.exports = {\n${getters.join('\n')}\n};`, resolveDir: pluginData, loader: 'js' };
    });
  },
};

/** Names of what a package, as one that requires it gets it, or a module of ours exports. */
async function exportsOf(path, from) {
  if (!path.endsWith('.ts')) return Object.keys(createRequire(`${from}/`)(path));
  const { metafile } = await build({ entryPoints: [path], bundle: false, format: 'esm', write: false, metafile: true, outdir: 'out' });
  return Object.values(metafile.outputs)[0].exports;
}

const common = {
  bundle: true,
  format: 'cjs',
  platform: 'node',
  target: 'node20.19',
  charset: 'ascii',
  sourcemap: true,
  legalComments: 'linked',
  // It has a native part, which it finds beside itself.
  external: ['better-sqlite3'],
  define: { 'import.meta.url': 'importMetaUrl', 'import.meta.dirname': '__dirname' },
  banner: { js: "const importMetaUrl = require('node:url').pathToFileURL(__filename).href;" },
  logLevel: 'warning',
};

await rm('dist/bundle', { recursive: true, force: true });
await build({
  ...common,
  entryPoints: ['src/cli/program.ts'],
  outfile: 'dist/bundle/program.cjs',
  plugins: [commanderApart, commandsApart, whenUsed],
  supported: { 'dynamic-import': false },
});
const listed = await readFile('src/cli/commands.ts', 'utf8');
const files = new Set(Array.from(listed.matchAll(/import\('(\.\/commands\/[\w-]+\.ts)'\)/g), ([, file]) => file));
for (const part of ['run.cjs', 'commands.cjs']) {
  const own = Array.from(files).filter((file) => partOf(file) === part);
  await build({
    ...common,
    stdin: { contents: own.map((file) => `export * from '${file}';`).join('\n'), resolveDir: 'src/cli', loader: 'ts' },
    outfile: `dist/bundle/${part}`,
    plugins: [commanderApart, leaveOut, whenUsed],
  });
}
await build({
  ...common,
  stdin: { contents: "export * from 'commander';", resolveDir: '.' },
  outfile: 'dist/bundle/commander.cjs',
  plugins: [whenUsed],
});
await copyFile('scripts/lib/launcher.mjs', 'dist/bundle/load.mjs');
await writeFile(
  'dist/main.js',
  "#!/usr/bin/env node\nimport { load } from './bundle/load.mjs';\n\nprocess.exitCode = await load('program.cjs').main(process.argv.slice(2));\n",
);

const { rehearse } = await import('./lib/rehearse.mjs');
await rehearse();
process.exitCode = 0;
