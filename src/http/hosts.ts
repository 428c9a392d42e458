import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import { KatafleetError } from '../model/errors.ts';
import { parseHostName } from '../model/host-name.ts';

/** The server's own names. */
export interface Hosts {
  /** Whether it is reached on loopback only. Then no other address is its own. */
  loopbackOnly: boolean;
  /** Names in addition to localhost: lower case, without a dot at the end. */
  names: readonly string[];
}

/** `HOST` or `HOST:PORT`, IPv6 in brackets (RFC 9110, 7.2). */
const header = /^(?:\[([^[\]]{1,64})\]|([^\s:@/\\?#[\]]{1,254}))(?::\d{0,5})?$/;

/**
 * Returns the error for a request whose `Host` is not the server's own. If a page's name is made to point at this server (DNS
 * rebinding), the browser lets the page call it, but `Host` is then the page's name. Addresses, localhost and the server's own names
 * cannot be pointed elsewhere. A client that sends no Host (HTTP/1.0) is no browser.
 */
export function hostFault({ rawHeaders }: IncomingMessage, { loopbackOnly, names }: Hosts): KatafleetError | undefined {
  const given = rawHeaders.filter((_, index) => index % 2 === 1 && rawHeaders[index - 1]?.toLowerCase() === 'host');
  if (given.length > 1) return new KatafleetError('request.invalid', `expected one Host header, got ${given.length}`);
  const [host] = given;
  if (host === undefined) return undefined;
  const [, address, name = ''] = header.exec(host) ?? [];
  if (isOurs(address ?? name, address !== undefined, loopbackOnly, names)) return undefined;
  const own = loopbackOnly ? 'loopback names and those of server.names' : 'addresses, localhost, its host name and those of server.names';
  return new KatafleetError('request.forbidden', `this server answers to ${own} only, not to ${JSON.stringify(host.slice(0, 200))}`, {
    hint: 'if the name is correct, add it to server.names in the configuration of the server',
  });
}

function isOurs(host: string, bracketed: boolean, loopbackOnly: boolean, names: readonly string[]): boolean {
  const version = isIP(host);
  if (bracketed || version !== 0) {
    if (version !== (bracketed ? 6 : 4)) return false;
    return !loopbackOnly || host === '::1' || host.startsWith('127.');
  }
  const name = parseHostName(host);
  return name !== undefined && (name === 'localhost' || names.includes(name));
}
