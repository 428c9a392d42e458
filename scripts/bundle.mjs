// The command line in a few files in place of some 800: reading and compiling modules is most of what `katafleet run`
// takes before it does anything. Takes dist/ as tsc left it and puts dist/main.js and dist/bundle/ in place of what stands
// there; the library (dist/index.js) stays as tsc made it.
import { rm } from 'node:fs/promises';
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

await rm('dist/bundle', { recursive: true, force: true });
await build({
  entryPoints: ['src/main.ts'],
  outdir: 'dist',
  chunkNames: 'bundle/[name]-[hash]',
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node20.19',
  sourcemap: true,
  legalComments: 'linked',
  // It has a native part, which it finds beside itself.
  external: ['better-sqlite3'],
  plugins: [leaveOut],
  // CommonJS packages ask for Node's own modules by require, and some for their folder.
  banner: {
    js: "import { createRequire as requireOf } from 'node:module'; import { fileURLToPath as pathOf } from 'node:url'; const require = requireOf(import.meta.url), __filename = pathOf(import.meta.url), __dirname = pathOf(new URL('.', import.meta.url));",
  },
  logLevel: 'warning',
});
