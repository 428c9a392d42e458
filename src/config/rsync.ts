import { isIP } from 'node:net';
import { z } from 'zod';
import { GiB, MiB, minute, second } from '../base/units.ts';
import { parseListen } from '../model/endpoint.ts';
import { duration, size } from './fields.ts';

const address = z.string().refine((text) => parseListen(text) !== undefined, {
  error: (issue) => `expected HOST:PORT such as 172.17.0.1:8730, got ${JSON.stringify(issue.input)}`,
});

/** The daemon serves sandboxes only, so it listens on one interface, not on all. */
const oneInterface = address.refine((text) => !['0.0.0.0', '::'].includes(parseListen(text)?.host ?? ''), {
  error: () => 'expected the address of one interface, docker0’s for instance, and not of all of them',
});

/** A shorter prefix would allow too large a part of the internet. */
const shortestPrefix = 8;

const network = z.string().refine(isNetwork, {
  error: (issue) =>
    `expected an address or a network such as 172.17.0.0/16, with a prefix of ${shortestPrefix} or more, got ${JSON.stringify(issue.input)}`,
});

function isNetwork(text: string): boolean {
  const [host = '', prefix, ...more] = text.split('/');
  const version = isIP(host);
  if (version === 0 || more.length > 0) return false;
  if (prefix === undefined) return true;
  return /^\d{1,3}$/.test(prefix) && Number(prefix) >= shortestPrefix && Number(prefix) <= (version === 4 ? 32 : 128);
}

const folder = z.string().min(1).max(4_095);

/** Files that travel by rsync; docs/rsync.md says when that pays. */
export const RsyncEntry = z
  .strictObject({
    daemon: z.enum(['off', 'own', 'machine']).default('off'),
    /** The rsync program; a name is looked up on the PATH. */
    program: folder.default('rsync'),
    /** Versions below the security fixes that the distribution has patched without a new number. */
    accept: z
      .array(z.string().regex(/^\d+\.\d+\.\d+\S*$/, 'expected a version as rsync --version tells it, such as 3.2.7'))
      .max(100)
      .default([]),
    folder: folder.optional(),
    listen: oneInterface.default('127.0.0.1:8730'),
    advertise: address.optional(),
    hostsAllow: z.array(network).min(1).max(1_000).default(['127.0.0.1/32']),
    roots: z.array(folder).max(1_000).default([]),
    network: z
      .string()
      .regex(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/, 'expected the name of a Docker network')
      .refine((name) => name !== 'none', { error: () => 'the network none leads nowhere' })
      .default('bridge'),
    pushFrom: size(0, GiB).default(MiB),
    timeout: duration(second, 60 * minute).default(minute),
  })
  .prefault({});
