import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { json } from 'node:stream/consumers';

export type Answer = (request: http.IncomingMessage, response: http.ServerResponse) => void;

/**
 * Starts an HTTP server on a unix socket of its own. It describes itself as a modern engine does. `answers` has the answers to other
 * requests by path, and `otherwise` answers all the rest.
 */
export async function stubEngine(
  answers: Record<string, Answer> = {},
  otherwise?: Answer,
): Promise<{ endpoint: string } & AsyncDisposable> {
  const says = (body: object): Answer => {
    return (_request, response) => void response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  };
  const known: Record<string, Answer> = {
    '/version': says({ Version: '20.10', ApiVersion: '1.41', MinAPIVersion: '1.12' }),
    '/info': says({ Name: 'stub', Architecture: 'x86_64', MemoryLimit: true, NCPU: 2, MemTotal: 8e9 }),
    '/containers/json': says([]),
    '/images/json': says([]),
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

/** The fields that are read from a request to create a container. */
export interface Created {
  HostConfig: { Sysctls?: Record<string, string>; CapAdd?: string[] };
}

/** Fails to create every container, with a message that depends on the request. */
export function creating(refusal: (created: Created) => string): Answer {
  return (request, response) => {
    const end = (status: number, message: string) =>
      void response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify({ message }));
    if (request.url?.includes('/containers/create')) void json(request).then((created) => end(500, refusal(created as Created)));
    else end(404, 'no such path');
  };
}
