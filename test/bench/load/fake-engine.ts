// A process that is a Docker engine as far as katafleet asks one: containers are made-up supervisors. Its argument is the path of its
// socket. Prints a line when it listens.
import http from 'node:http';
import { text } from 'node:stream/consumers';
import tar from 'tar-stream';
import { supervisorBinary } from '../../../src/drivers/docker/supervisor.ts';
import { labels } from '../../../src/model/labels.ts';
import { defaultUids, uidsInWords } from '../../../src/model/users.ts';
import type { Duplex } from 'node:stream';
import { MadeUpSupervisors } from './made-up-supervisor.ts';

interface Container {
  labels: Record<string, string>;
  running: boolean;
  stream?: Duplex;
  /** Answers to `wait`. */
  waiting: (() => void)[];
}

const [path = ''] = process.argv.slice(2);
const supervisor = await supervisorBinary('amd64');
const own = { [labels.supervisor]: supervisor.sha256, [labels.uids]: uidsInWords(defaultUids) };
const id = `sha256:${'5'.repeat(64)}`;
const containers = new Map<string, Container>();
let made = 0;

/** The engine's frame around bytes of a container's output. */
function framed(bytes: Buffer): Buffer {
  const header = Buffer.alloc(8);
  header.writeUInt8(1, 0);
  header.writeUInt32BE(bytes.length, 4);
  return Buffer.concat([header, bytes]);
}
const supervisors = new MadeUpSupervisors(framed);

/** The supervisor's file as the engine gives it out of a container. */
const archive = await new Promise<Buffer>((resolve, reject) => {
  const pack = tar.pack();
  pack.entry({ name: 'supervisor', mode: 0o555 }, supervisor.bytes);
  pack.finalize();
  const parts: Buffer[] = [];
  pack.on('data', (part) => parts.push(part as Buffer)).on('end', () => resolve(Buffer.concat(parts)));
  pack.on('error', reject);
});

const json = (response: http.ServerResponse, status: number, body: object) => {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
};

function ended(container: Container): void {
  container.running = false;
  for (const answer of container.waiting.splice(0)) answer();
}

const server = http.createServer((request, response) => {
  const [, method = '', at = ''] = /^(\w+) (?:\/v1\.\d+)?([^?]*)/.exec(`${request.method} ${request.url}`) ?? [];
  const container = containers.get(at.split('/')[2] ?? '');
  if (at === '/_ping') response.end('OK');
  else if (at === '/version') json(response, 200, { Version: '24.0.0', ApiVersion: '1.43', MinAPIVersion: '1.12' });
  else if (at === '/info') {
    const limits = { MemoryLimit: true, SwapLimit: true, PidsLimit: true, CpuCfsQuota: true };
    json(response, 200, { Name: 'made-up', Architecture: 'x86_64', NCPU: 64, MemTotal: 2 ** 40, CgroupVersion: '2', ...limits });
  } else if (at === '/images/json') json(response, 200, [{ Id: id, RepoTags: ['any:latest'], RepoDigests: [], Size: 1, Labels: own }]);
  else if (at === '/events') response.writeHead(200).flushHeaders();
  else if (at === '/containers/json') {
    const all = Array.from(containers, ([Id, { running, labels: Labels }]) => ({ Id, State: running ? 'running' : 'exited', Labels }));
    json(response, 200, all);
  } else if (/^\/images\/.*\/json$/.test(at)) {
    json(response, 200, { Id: id, Architecture: 'amd64', Config: { Labels: own, Volumes: null, Entrypoint: null, Cmd: ['true'] } });
  } else if (at === '/containers/create') {
    void text(request).then((body) => {
      made += 1;
      const name = `c${made}`;
      containers.set(name, { labels: (JSON.parse(body) as { Labels: Record<string, string> }).Labels, running: false, waiting: [] });
      json(response, 201, { Id: name });
    });
  } else if (!container) json(response, 404, { message: `no such thing: ${method} ${at}` });
  else if (at.endsWith('/archive')) {
    const file = at.endsWith('/archive') && (request.url ?? '').includes('supervisor');
    const stat = Buffer.from(JSON.stringify({ mode: file && method === 'GET' ? 0o555 : 0x8000_0000 })).toString('base64');
    response
      .writeHead(200, { 'content-type': 'application/x-tar', 'x-docker-container-path-stat': stat })
      .end(method === 'GET' ? archive : '');
  } else if (at.endsWith('/start')) {
    container.running = true;
    if (container.stream) supervisors.serve(container.stream);
    response.writeHead(204).end();
  } else if (at.endsWith('/wait')) {
    const answer = () => json(response, 200, { StatusCode: 0 });
    if (container.running) container.waiting.push(answer);
    else answer();
  } else if (at.endsWith('/json')) json(response, 200, { Id: at.split('/')[2], State: { ExitCode: 0, OOMKilled: false } });
  else if (method === 'DELETE') {
    containers.delete(at.split('/')[2] ?? '');
    container.stream?.destroy();
    ended(container);
    response.writeHead(204).end();
  } else json(response, 404, { message: `no such thing: ${method} ${at}` });
});
server.on('upgrade', (request: http.IncomingMessage, stream: Duplex) => {
  const container = containers.get(/\/containers\/(\w+)\/attach/.exec(request.url ?? '')?.[1] ?? '');
  if (!container) {
    stream.end('HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n');
    return;
  }
  container.stream = stream;
  stream.on('error', () => undefined);
  stream.on('close', () => ended(container));
  stream.on('end', () => stream.end());
  stream.write('HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n');
});
server.keepAliveTimeout = 60_000;
server.listen(path, () => console.log('ready'));
