import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export type Answer = (request: http.IncomingMessage, response: http.ServerResponse) => void;

/**
 * An HTTP server on a unix socket of its own that says what a modern engine says of itself, and else what it is told: by path, or
 * by what answers all else.
 */
export async function stubEngine(
  answers: Record<string, Answer> = {},
  otherwise?: Answer,
): Promise<{ endpoint: string } & AsyncDisposable> {
  const json = (body: object): Answer => {
    return (_request, response) => void response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  };
  const known: Record<string, Answer> = {
    '/version': json({ Version: '20.10', ApiVersion: '1.41', MinAPIVersion: '1.12' }),
    '/info': json({ Name: 'stub', Architecture: 'x86_64', MemoryLimit: true, NCPU: 2, MemTotal: 8e9 }),
    '/containers/json': json([]),
    '/images/json': json([]),
    ...answers,
  };
  const folder = await mkdtemp(join(tmpdir(), 'katafleet-stub-'));
  const server = http.createServer((request, response) => {
    const path = (request.url ?? '').replace(/^\/v1\.\d+/, '').replace(/\?.*/, '');
    const answer = known[path];
    if (answer) answer(request, response);
    else if (otherwise) otherwise(request, response);
    else response.writeHead(404, { 'content-type': 'application/json' }).end(JSON.stringify({ message: `no such path ${path}` }));
  });
  server.listen(join(folder, 'sock'));
  await once(server, 'listening');
  return {
    endpoint: `unix://${folder}/sock`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await rm(folder, { recursive: true });
    },
  };
}
