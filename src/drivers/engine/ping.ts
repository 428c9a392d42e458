import http from 'node:http';
import https from 'node:https';
import type Dockerode from 'dockerode';

/** Longest answer that is read, bytes. */
const mostBytes = 4_096;

type Ask = (took: (response: http.IncomingMessage) => void) => http.ClientRequest;

/**
 * Asks the engine for `/_ping`, over a connection that stays open. A fleet asks each engine every two seconds, so this takes the
 * shortest way: no client library, no JSON. @throws node's own errors; one with `statusCode` and `json.message` if the engine refuses
 */
export function pinger(connection: Dockerode.DockerOptions & { agent?: unknown }): (signal: AbortSignal) => Promise<void> {
  const { protocol, agent, socketPath, host, port } = connection;
  const { request } = protocol === 'https' ? https : http;
  const at = socketPath === undefined ? { host, port } : { socketPath };
  const options = { ...at, agent: agent as http.Agent, path: '/_ping' };
  const ask: Ask = (took) => request(options, took);
  return async (signal) => {
    try {
      await ping(ask, signal);
    } catch (error) {
      // The engine may have closed a connection just when it was to be used again.
      if (!(error instanceof StaleConnection)) throw error;
      await ping(ask, signal);
    }
  };
}

class StaleConnection extends Error {}

function ping(ask: Ask, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  return new Promise((resolve, reject) => {
    const stop = () => asked.destroy(signal.reason instanceof Error ? signal.reason : new Error('the ping was given up'));
    const fail = (error: Error) => {
      signal.removeEventListener('abort', stop);
      const reset = (error as NodeJS.ErrnoException).code === 'ECONNRESET' && asked.reusedSocket && !signal.aborted;
      reject(reset ? new StaleConnection('the engine closed an idle connection') : error);
    };
    const asked = ask((response) => {
      let said = '';
      response.on('data', (chunk: Buffer) => {
        said += chunk.toString();
        if (said.length > mostBytes) asked.destroy(new Error('it answers a ping with more than 4 KiB'));
      });
      response.once('error', fail);
      response.once('end', () => {
        const { statusCode = 0 } = response;
        if (statusCode !== 200) {
          fail(Object.assign(new Error(`status ${statusCode}`), { statusCode, json: { message: said.trim() || `status ${statusCode}` } }));
          return;
        }
        signal.removeEventListener('abort', stop);
        resolve();
      });
    });
    signal.addEventListener('abort', stop, { once: true });
    asked.once('error', fail);
    asked.end();
  });
}
