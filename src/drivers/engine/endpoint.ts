import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { join } from 'node:path';
import type Dockerode from 'dockerode';
import { KatafleetError, messageOf } from '../../core/errors.ts';
import { SshAgent } from './ssh-agent.ts';

/** Where an engine listens by default. */
export const defaultEndpoint = 'unix:///var/run/docker.sock';

/** How to connect: what dockerode takes, and what to close in the end. */
export interface Connection {
  options: Dockerode.DockerOptions;
  close(): void;
}

/**
 * The connection to `unix:///path`, `tcp://host:port` (TLS where `certPath` holds ca.pem, cert.pem and key.pem) or
 * `ssh://[user@]host[:port]` (an engine with dial-stdio, 18.09 or later). @throws endpoint.invalid
 */
export function connect(endpoint: string, certPath?: string): Connection {
  // dockerode fills what is absent from DOCKER_HOST; each field is therefore given, if only as undefined.
  const unset = { host: undefined, port: undefined, socketPath: undefined, ca: undefined, cert: undefined, key: undefined };
  const url = parse(endpoint);
  const keepAlive = { keepAlive: true, maxSockets: Infinity, maxFreeSockets: 8 };
  switch (url.protocol) {
    case 'unix:': {
      const agent = new http.Agent(keepAlive);
      return given({ ...unset, protocol: 'http', socketPath: url.pathname, agent }, agent);
    }
    case 'tcp:':
    case 'http:':
    case 'https:': {
      const tls = certPath === undefined ? undefined : certificates(certPath);
      const agent = tls ? new https.Agent({ ...keepAlive, ...tls }) : new http.Agent(keepAlive);
      const address = { host: url.hostname, port: url.port || (tls ? '2376' : '2375') };
      return given({ ...unset, ...address, ...tls, protocol: tls ? 'https' : 'http', agent }, agent);
    }
    case 'ssh:': {
      const agent = new SshAgent(url);
      return given({ ...unset, host: 'engine', port: '80', protocol: 'http', agent }, agent);
    }
    default:
      throw invalid(endpoint);
  }
}

function given(options: object, agent: { destroy(): void }): Connection {
  return { options, close: () => agent.destroy() };
}

function parse(endpoint: string): URL {
  try {
    const url = new URL(endpoint);
    if (url.protocol === 'unix:' ? url.pathname.length > 1 : url.hostname !== '') return url;
  } catch {
    throw invalid(endpoint);
  }
  throw invalid(endpoint);
}

function invalid(endpoint: string): KatafleetError {
  return new KatafleetError('endpoint.invalid', `"${endpoint}" is no endpoint: expected unix:///path, tcp://host:port or ssh://user@host`);
}

function certificates(folder: string): { ca: Buffer; cert: Buffer; key: Buffer } {
  try {
    return {
      ca: readFileSync(join(folder, 'ca.pem')),
      cert: readFileSync(join(folder, 'cert.pem')),
      key: readFileSync(join(folder, 'key.pem')),
    };
  } catch (error) {
    throw new KatafleetError('endpoint.invalid', `the TLS certificates in ${folder} can't be read: ${messageOf(error)}`, { cause: error });
  }
}

/** The endpoint that Docker's own variables name, else the default socket. */
export function endpointFromEnvironment(env: NodeJS.ProcessEnv): { endpoint: string; certPath?: string } {
  const endpoint = env['DOCKER_HOST'] || defaultEndpoint;
  const wantsTls = Boolean(env['DOCKER_TLS_VERIFY']);
  const certPath = env['DOCKER_CERT_PATH'] ?? (wantsTls ? join(env['HOME'] ?? '', '.docker') : undefined);
  return certPath !== undefined && endpoint.startsWith('tcp:') ? { endpoint, certPath } : { endpoint };
}
