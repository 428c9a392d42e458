import { createServer, request as ask, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/**
 * What happens to a call on its way. `pass`: nothing; `refuse`: it never arrives; `drop`: it arrives, and its answer is lost; `cut`: half
 * of the answer comes; `busy`: a proxy answers 503 with Retry-After; `away`: a proxy answers 502 in HTML.
 */
export type Fault = 'pass' | 'refuse' | 'drop' | 'cut' | 'busy' | 'away';

/** A proxy before a katafleet that breaks calls. `decide` says how, for each call in turn. */
export async function faultProxy(target: string, decide: (call: { method: string; path: string; number: number }) => Fault) {
  const calls: string[] = [];
  const server = createServer((request, response) => {
    const { method = '', url: path = '' } = request;
    const fault = decide({ method, path, number: calls.length });
    calls.push(`${method} ${path.split('?', 1)[0] ?? ''} ${fault}`);
    if (fault === 'refuse') request.socket.destroy();
    else if (fault === 'busy') {
      const error = { code: 'server.busy', message: 'busy', fault: 'system', retry: true };
      response.writeHead(503, { 'content-type': 'application/json', 'retry-after': '0' }).end(JSON.stringify({ error }));
    } else if (fault === 'away') response.writeHead(502, { 'content-type': 'text/html' }).end('<html>');
    else void forward(target, request, response, fault);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const close = async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  };
  return { url: `http://127.0.0.1:${port}`, calls, close };
}

async function forward(target: string, request: IncomingMessage, response: ServerResponse, fault: Fault): Promise<void> {
  const { method, url: path, headers } = request;
  const { host } = new URL(target);
  try {
    const answer = await new Promise<IncomingMessage>((resolve, reject) => {
      const onward = ask(`${target}${path ?? ''}`, { method, headers: { ...headers, host } }, resolve).on('error', reject);
      response.once('close', () => onward.destroy());
      request.pipe(onward);
    });
    const parts: Buffer[] = [];
    for await (const part of answer) parts.push(part as Buffer);
    const whole = Buffer.concat(parts);
    if (fault === 'drop') {
      response.destroy();
      return;
    }
    response.writeHead(answer.statusCode ?? 500, { ...answer.headers, 'content-length': whole.length });
    if (fault === 'cut') response.write(whole.subarray(0, whole.length / 2), () => response.destroy());
    else response.end(whole);
  } catch {
    response.destroy();
  }
}
