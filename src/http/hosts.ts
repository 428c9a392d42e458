import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import { KatafleetError } from '../model/errors.ts';
import { parseHostName } from '../model/host-name.ts';

/** By which names the server may be asked. */
export interface Hosts {
  /** It is reached on loopback only: of the addresses only those of loopback are its own. */
  loopbackOnly: boolean;
  /** Names beside localhost: lower case, without a dot at the end. */
  names: readonly string[];
}

/** `HOST` or `HOST:PORT`, IPv6 in brackets (RFC 9110, 7.2). */
const header = /^(?:\[([^[\]]{1,64})\]|([^\s:@/\\?#[\]]{1,254}))(?::\d{0,5})?$/;

/**
 * Why a request is turned away for the name that it asks by. A page whose own name was pointed at this server (DNS rebinding)
 * may ask what it likes as far as a browser can see, but it can't choose its `Host`: that is the page's name. Nobody points an
 * address elsewhere, nor localhost, nor a name that is ours. What sends no Host (HTTP/1.0) is no browser.
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
    hint: 'if that name is its own, add it to server.names in its configuration',
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
