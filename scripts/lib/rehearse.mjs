// Runs the bundled command line against a stand-in of an engine and keeps the code that V8 has made of it by then, for the next
// process to begin with: compiling is most of what a short command does. The stand-in says what an engine and a supervisor say of
// `true`; it starts nothing.
import { Buffer } from 'node:buffer';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import process from 'node:process';
import { supervisorBinary } from '../../dist/drivers/docker/supervisor.js';
import { codeOf, load, scripts } from '../../dist/bundle/load.mjs';

/** That of this machine, for which a supervisor is built. */
const architecture = process.arch === 'arm64' ? 'arm64' : 'amd64';
const image = { Id: `sha256:${'0'.repeat(64)}`, Architecture: architecture, Config: {}, RepoTags: ['katafleet/build-essential:latest'] };
const answers = [
  [/^GET \/_ping/, 200, 'OK'],
  [/^GET \/version/, 200, { Version: '20.10', ApiVersion: '1.41', MinAPIVersion: '1.12' }],
  [/^GET \/info/, 200, { Name: 'engine', Architecture: architecture, NCPU: 2, MemTotal: 8e9, MemoryLimit: true, SwapLimit: true }],
  [/^GET \/containers\/json/, 200, []],
  [/^GET \/images\/json/, 200, [image]],
  [/^GET \/images\//, 200, image],
  [/^POST \/containers\/create/, 201, { Id: 'sandbox' }],
  [/^POST \/containers\/sandbox\/start/, 204],
  [/^DELETE \/containers\/sandbox/, 204],
];

/** What the supervisor says as it starts, and of a `true` that changed nothing; see docs/protocol.md. Newer ones say no less. */
const greeting = '81000000134b4154410001000100000f8f0005312e302e30';
const result =
  '820000000400000000860000003d00000000000000000000000000000000000018c66400000000000000000000000000140500000000000046200000000000000000000000000000000000' +
  '8c0000001000000000000000000000000000000000';

/** As an engine sends what a container prints. */
function printed(hex) {
  const bytes = Buffer.from(hex, 'hex');
  const head = Buffer.from([1, 0, 0, 0, 0, 0, 0, 0]);
  head.writeUInt32BE(bytes.length, 4);
  return Buffer.concat([head, bytes]);
}

/** A stand-in at a socket; resolves when it listens. */
async function standIn(socket) {
  let stream;
  const server = http.createServer((request, response) => {
    const what = `${request.method} ${request.url.replace(/^\/v1\.\d+/, '')}`;
    const [, status, body] = answers.find(([asked]) => asked.test(what)) ?? [undefined, 404, { message: `no ${what}` }];
    if (what.startsWith('GET /events')) response.writeHead(200).flushHeaders();
    else response.writeHead(status, { 'content-type': 'application/json' }).end(body && JSON.stringify(body));
    if (what.endsWith('/start')) stream.write(printed(greeting));
  });
  server.on('upgrade', (_request, attached) => {
    stream = attached;
    let heard = Buffer.alloc(0);
    attached.write('HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n');
    attached.on('data', (bytes) => {
      const before = heard.includes('true');
      heard = Buffer.concat([heard, bytes]);
      if (!before && heard.includes('true')) attached.write(printed(result));
    });
    attached.on('end', () => attached.end());
  });
  server.listen(socket);
  await once(server, 'listening');
  return server;
}

/** Bytes of a socket's path that every system takes. */
const longestSocket = 100;

/** A folder that a socket's path may begin with; undefined where there is none. */
async function folderForSocket() {
  for (const parent of [tmpdir(), '/tmp', resolve('dist')]) {
    const draft = join(parent, 'katafleet-rehearsal-');
    if (Buffer.byteLength(`${draft}XXXXXX/socket`) > longestSocket) continue;
    try {
      return await mkdtemp(draft);
    } catch {
      // Not to be written, or not there: the next may be.
    }
  }
  return undefined;
}

/** Undefined where it is not built, or can't be: then nothing can be run. */
async function supervisorSha() {
  try {
    return (await supervisorBinary(architecture)).sha256;
  } catch {
    return undefined;
  }
}

/** @throws when a command does not end as it should: then its code would be that of a failure */
export async function rehearse() {
  const sha256 = await supervisorSha();
  const folder = sha256 === undefined ? undefined : await folderForSocket();
  const server = folder === undefined ? undefined : await standIn(join(folder, 'socket'));
  const { write } = process.stdout;
  if (!server)
    process.stderr.write(
      `the command line begins without the code of a run: ${sha256 ? 'no folder for a socket' : 'no supervisor is built'}\n`,
    );
  try {
    const { main } = load('program.cjs');
    process.stdout.write = () => true;
    for (const words of [...(server ? await runs(folder, sha256) : []), ['run', '--help'], ['completion', 'bash']]) {
      const code = await main(words);
      if (code !== 0) throw new Error(`katafleet ${words.join(' ')} exited with ${code}`);
    }
    for (const [file, script] of scripts) await writeFile(codeOf(file), script.createCachedData());
  } finally {
    process.stdout.write = write;
    server?.closeAllConnections();
    server?.close();
    if (folder) await rm(folder, { recursive: true });
  }
}

/** Runs of a kata in the folder, on the stand-in that is there. */
async function runs(folder, sha256) {
  for (const name of ['cache', 'cache/katafleet', 'kata']) await mkdir(join(folder, name), { mode: 0o700 });
  // What an earlier run has found out: the image has the supervisor.
  await writeFile(join(folder, 'cache/katafleet/supervisors'), `${image.Id} ${sha256}\n`, { mode: 0o600 });
  await writeFile(join(folder, 'kata/a.txt'), 'a\n');
  await writeFile(join(folder, 'katafleet.yaml'), '');
  process.env.DOCKER_HOST = `unix://${folder}/socket`;
  process.env.XDG_CACHE_HOME = join(folder, 'cache');
  process.env.KATAFLEET_CONFIG = join(folder, 'katafleet.yaml');
  delete process.env.KATAFLEET_SERVER;
  const run = ['run', '--stdin', '/dev/null'];
  const what = [join(folder, 'kata'), '--', 'true'];
  return [
    [...run, '--json', ...what],
    [...run, '--quiet', ...what],
  ];
}
