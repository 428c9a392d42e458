import { isIP } from 'node:net';

const part = '[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?';
const pattern = new RegExp(`^${part}(\\.${part})*$`);

/**
 * A host's name in small letters and without a dot at its end; undefined for what is none: an address, a port, more than 253
 * characters, a part of more than 63, letters beyond ASCII. Underscores are taken: services of a swarm have them.
 */
export function parseHostName(text: string): string | undefined {
  const name = text.toLowerCase().replace(/\.$/, '');
  return name.length <= 253 && isIP(name) === 0 && pattern.test(name) ? name : undefined;
}
