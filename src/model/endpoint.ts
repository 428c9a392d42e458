import { endpointForms } from './driver-kind.ts';
import { KatafleetError } from './errors.ts';

/** Returns an endpoint without its password. */
export function maskEndpoint(endpoint: string): string {
  return endpoint.replace(/^([\w+.-]+:\/\/[^/@:]*):[^/]*@/, '$1:***@');
}

/** Returns the error for a text that is no endpoint of a known scheme. */
export const invalidEndpoint = (endpoint: string): KatafleetError =>
  new KatafleetError('endpoint.invalid', `"${maskEndpoint(endpoint)}" is not an endpoint: expected ${endpointForms}`);

/** Returns the path of a `unix://` endpoint's socket exactly as it is written; undefined for another kind of endpoint. */
export const socketPath = (endpoint: string): string | undefined => /^unix:(?:\/\/[^/]*)?(\/.+)$/is.exec(endpoint)?.[1];

/** Returns the same text for endpoints that lead to one engine: spelling, default ports and passwords are left out. */
export function endpointIdentity(endpoint: string, tls: boolean): string {
  if (!URL.canParse(endpoint)) return endpoint;
  const url = new URL(endpoint);
  if (url.protocol === 'unix:') return `unix ${url.pathname.replace(/\/{2,}/g, '/')}`;
  if (url.protocol === 'ssh:') return `ssh ${url.username}@${url.hostname}:${url.port || '22'}`;
  return `tcp ${url.hostname.toLowerCase()}:${url.port || (tls ? '2376' : '2375')}`;
}

/** Parses `HOST:PORT`, IPv6 in brackets. Returns undefined for anything else. */
export function parseListen(listen: string): { host: string; port: number } | undefined {
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]+)):(\d{1,5})$/.exec(listen);
  const port = Number(match?.[3]);
  return match && port <= 65_535 ? { host: match[1] ?? match[2] ?? '', port } : undefined;
}
