import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { join } from 'node:path';
import { inspect } from 'node:util';
import type Dockerode from 'dockerode';
import { invalidEndpoint, socketPath } from '../../model/endpoint.ts';
import { KatafleetError, messageOf } from '../../model/errors.ts';
import { SshTransport } from '../transport/transport.ts';
import { SshAgent } from './ssh-agent.ts';

/** An engine's default socket. */
export const defaultEndpoint = 'unix:///var/run/docker.sock';

/** How to connect: dockerode's options, and a function that breaks off all calls under way. Later calls connect again. */
export interface EngineConnection {
  options: Dockerode.DockerOptions;
  disconnect(): void;
  /** Breaks off all calls for good. */
  close(): void;
}

/** The files of a TLS client. */
export interface TlsFiles {
  ca: string;
  cert: string;
  key: string;
}

/** How long a TCP connection may be silent before the kernel sends a keep-alive probe, ms. */
const keepAliveMs = 15_000;

/**
 * Returns a connection to `unix:///path`, `tcp://host:port` (TLS if its files are given, or a folder with ca.pem, cert.pem and key.pem), or
 * `ssh://[user@]host[:port]` (an engine with dial-stdio, 18.09 or later). @throws endpoint.invalid
 */
export function connect(endpoint: string, tls?: string | TlsFiles, transport?: SshTransport): EngineConnection {
  // dockerode reads absent fields from DOCKER_HOST, so each field is given, if only as undefined.
  const unset = { host: undefined, port: undefined, socketPath: undefined, ca: undefined, cert: undefined, key: undefined };
  const url = parse(endpoint);
  const keepAlive = { keepAlive: true, keepAliveMsecs: keepAliveMs, maxSockets: Infinity, maxFreeSockets: 8 };
  switch (url.protocol) {
    case 'unix:': {
      const agent = terse(new http.Agent(keepAlive));
      return connection({ ...unset, protocol: 'http', socketPath: socketPath(endpoint), agent }, agent);
    }
    case 'tcp:':
    case 'http:':
    case 'https:': {
      const files = typeof tls === 'string' ? filesIn(tls) : tls;
      const given = files && certificates(files);
      const agent = terse(given ? new https.Agent({ ...keepAlive, ...given }) : new http.Agent(keepAlive));
      const address = { host: url.hostname, port: url.port || (given ? '2376' : '2375') };
      return connection({ ...unset, ...address, ...given, protocol: given ? 'https' : 'http', agent }, agent);
    }
    case 'ssh:': {
      const shared = transport ?? new SshTransport(endpoint);
      const agent = terse(new SshAgent(shared));
      return {
        options: { ...unset, host: 'engine', port: '80', protocol: 'http', agent } as Dockerode.DockerOptions,
        disconnect: () => {
          agent.destroy();
          void shared.disconnect();
        },
        close: () => {
          agent.destroy();
          void shared.close();
        },
      };
    }
    default:
      throw invalidEndpoint(endpoint);
  }
}

/**
 * Makes an agent short when it is inspected. docker-modem formats the options of every request for its log, even if the log is off, and
 * they include the agent with all its sockets: with a hundred calls under way, this takes far longer than the calls.
 */
function terse<T extends http.Agent>(agent: T): T {
  return Object.defineProperty(agent, inspect.custom, { value: () => 'Agent {}' });
}

function connection(options: object, agent: { destroy(): void }): EngineConnection {
  const disconnect = () => agent.destroy();
  return { options, disconnect, close: disconnect };
}

function parse(endpoint: string): URL {
  try {
    const url = new URL(endpoint);
    if (url.protocol === 'unix:' ? url.pathname.length > 1 : url.hostname !== '') return url;
  } catch {
    throw invalidEndpoint(endpoint);
  }
  throw invalidEndpoint(endpoint);
}

const filesIn = (folder: string): TlsFiles => ({
  ca: join(folder, 'ca.pem'),
  cert: join(folder, 'cert.pem'),
  key: join(folder, 'key.pem'),
});

function certificates({ ca, cert, key }: TlsFiles): { ca: Buffer; cert: Buffer; key: Buffer } {
  try {
    return { ca: readFileSync(ca), cert: readFileSync(cert), key: readFileSync(key) };
  } catch (error) {
    throw new KatafleetError('endpoint.invalid', `a TLS certificate can't be read: ${messageOf(error)}`, { cause: error });
  }
}

/** Returns the endpoint in Docker's own environment variables, else the default socket. */
export function endpointFromEnvironment(env: NodeJS.ProcessEnv): { endpoint: string; certPath?: string } {
  const endpoint = env['DOCKER_HOST'] || defaultEndpoint;
  const wantsTls = Boolean(env['DOCKER_TLS_VERIFY']);
  const certPath = env['DOCKER_CERT_PATH'] ?? (wantsTls ? join(env['HOME'] ?? '', '.docker') : undefined);
  return certPath !== undefined && endpoint.startsWith('tcp:') ? { endpoint, certPath } : { endpoint };
}
