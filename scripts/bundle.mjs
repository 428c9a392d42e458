// The command line in two files in place of some 800, what lists the commands and the commands, with the code that V8 makes of
// them beside: reading and compiling modules is most of what `katafleet run` takes before it does anything. Takes dist/ as
// tsc left it and puts dist/main.js and dist/bundle/ in place of what stands there; the library (dist/index.js) stays as it is.
import { copyFile, readFile, rm, writeFile } from 'node:fs/promises';
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

/** In the part that lists them, each command is asked of the other part. */
const commandsApart = {
  name: 'commands-apart',
  setup(it) {
    it.onResolve({ filter: /^\.\/[\w-]+\.ts$/ }, ({ kind }) =>
      kind === 'dynamic-import' ? { path: './commands.cjs', external: true } : undefined,
    );
  },
};

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
  plugins: [commandsApart],
  supported: { 'dynamic-import': false },
});
const listed = await readFile('src/cli/commands.ts', 'utf8');
const files = new Set(Array.from(listed.matchAll(/import\('(\.\/[\w-]+\.ts)'\)/g), ([, file]) => file));
await build({
  ...common,
  stdin: { contents: Array.from(files, (file) => `export * from '${file}';`).join('\n'), resolveDir: 'src/cli', loader: 'ts' },
  outfile: 'dist/bundle/commands.cjs',
  plugins: [leaveOut],
});
await copyFile('scripts/lib/launcher.mjs', 'dist/bundle/load.mjs');
await writeFile(
  'dist/main.js',
  "#!/usr/bin/env node\nimport { load } from './bundle/load.mjs';\n\nprocess.exitCode = await load('program.cjs').main(process.argv.slice(2));\n",
);

// What a command has compiled by its end is what the next one needs.
const { codeOf, load, scripts } = await import('../dist/bundle/load.mjs');
const { main } = load('program.cjs');
const write = process.stdout.write;
process.stdout.write = () => true;
await main(['run', '--help']);
process.stdout.write = write;
for (const [file, script] of scripts) await writeFile(codeOf(file), script.createCachedData());
process.exitCode = 0;
