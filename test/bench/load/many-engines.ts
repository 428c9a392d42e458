// A process that is many Docker engines without containers, one at each address of 127.0.0.0/8. Prints its port when it listens, and
// for each line that it reads the number of requests by path since the last one.
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { createInterface } from 'node:readline';

const images = Array.from({ length: 20 }, (_, index) => ({
  Id: `sha256:${String(index).padStart(64, '0')}`,
  RepoTags: [index === 0 ? 'any:latest' : `registry.example/team/image-${index}:v1`],
  RepoDigests: [],
  Size: 1e8,
  Labels: {},
}));
const counts = new Map<string, number>();

const server = http.createServer((request, response) => {
  const path = (request.url ?? '').replace(/^\/v1\.\d+/, '').replace(/\?.*/, '');
  counts.set(path, (counts.get(path) ?? 0) + 1);
  const json = (body: unknown) => void response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  if (path === '/_ping') response.end('OK');
  else if (path === '/version') json({ Version: '24.0.0', ApiVersion: '1.43', MinAPIVersion: '1.12', Os: 'linux', Arch: 'amd64' });
  else if (path === '/info') {
    const name = String(request.socket.localAddress);
    json({ ID: name, Name: name, Architecture: 'x86_64', NCPU: 8, MemTotal: 32e9, MemoryLimit: true, SwapLimit: true, PidsLimit: true });
  } else if (path === '/containers/json') json([]);
  else if (path === '/images/json') json(images);
  else if (path === '/events') response.writeHead(200, { 'content-type': 'application/json' }).flushHeaders();
  else response.writeHead(404, { 'content-type': 'application/json' }).end(JSON.stringify({ message: `no such path ${path}` }));
});
server.keepAliveTimeout = 120_000;
server.listen(0, '0.0.0.0', 4_096, () => process.stdout.write(`${(server.address() as AddressInfo).port}\n`));
createInterface(process.stdin)
  .on('line', () => {
    process.stdout.write(`${JSON.stringify(Object.fromEntries(counts))}\n`);
    counts.clear();
  })
  .on('close', () => process.exit(0));
