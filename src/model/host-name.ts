import { isIP } from 'node:net';

const part = '[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?';
const pattern = new RegExp(`^${part}(\\.${part})*$`);

/**
 * Returns a host's name in lower case without a dot at its end. Returns undefined for an address, a port, more than 253 characters, a
 * part of more than 63, or letters beyond ASCII. Underscores are allowed, because services of a swarm have them.
 */
export function parseHostName(text: string): string | undefined {
  const name = text.toLowerCase().replace(/\.$/, '');
  return name.length <= 253 && isIP(name) === 0 && pattern.test(name) ? name : undefined;
}
