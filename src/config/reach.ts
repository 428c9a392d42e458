import { defined } from '../base/defined.ts';
import { z } from 'zod';
import { hour, second } from '../base/units.ts';
import { endpointForms, isEndpoint } from '../model/driver-kind.ts';
import { maskEndpoint } from '../model/endpoint.ts';
import { duration } from './fields.ts';

/** How an engine is reached: its endpoint, and the keys and options that go with it. */

export const file = z.string().min(1).max(4_095);

export const endpoint = z.string().superRefine((text, context) => {
  if (!isEndpoint(text))
    context.addIssue({ code: 'custom', message: `expected ${endpointForms}, got ${JSON.stringify(maskEndpoint(text))}` });
});

/** How ssh is called for an ssh:// endpoint; what is absent is left to the person's own ssh configuration. */
const SshEntry = z.strictObject({
  /** A file to read in place of ~/.ssh/config. */
  config: file.optional(),
  /** A private key, and no other. */
  identity: file.optional(),
  knownHosts: file.optional(),
  /** Hosts to go through. */
  jump: z
    .string()
    .regex(/^[\w.@:%[\]][\w.@:%[\],-]{0,1023}$/, 'must be [user@]host[:port], several separated by commas')
    .optional(),
  /** The local user whose ssh it is, by sudo. */
  as: z
    .string()
    .regex(/^[a-z_][a-z0-9_-]{0,31}$/, 'must be the name of a user of this machine')
    .optional(),
  /** A connection that is silent for so long is asked whether it lives; it is given up after two questions without an answer. */
  keepalive: duration(second, hour).optional(),
});
type SshEntry = z.output<typeof SshEntry>;

/** Fields of an entry that names an endpoint. */
export const reachFields = {
  endpoint,
  /** A folder with ca.pem, cert.pem and key.pem, or the three files. */
  tls: z.union([file, z.strictObject({ ca: file, cert: file, key: file })]).optional(),
  ssh: SshEntry.optional(),
};
export type ReachEntry = z.output<z.ZodObject<typeof reachFields>>;

/** Keys go with the kind of endpoint that they are for. */
export function checkReach({ tls, ssh, endpoint: at }: ReachEntry, context: z.RefinementCtx): void {
  const misplaced = (field: string, scheme: string) =>
    context.addIssue({ code: 'custom', message: `goes with ${scheme} only, got the endpoint ${maskEndpoint(at)}`, path: [field] });
  if (tls !== undefined && !/^(tcp|https):/.test(at)) misplaced('tls', 'tcp://');
  if (ssh !== undefined && !at.startsWith('ssh:')) misplaced('ssh', 'ssh://');
}

/** How ssh is called: paths absolute, times in ms. */
export interface SshConfig {
  config?: string | undefined;
  identity?: string | undefined;
  knownHosts?: string | undefined;
  jump?: string | undefined;
  as?: string | undefined;
  keepaliveMs?: number | undefined;
}

/** An endpoint with what it takes to reach it; paths absolute. */
export interface ReachConfig {
  endpoint: string;
  tls?: string | { ca: string; cert: string; key: string } | undefined;
  ssh?: SshConfig | undefined;
}

/** The entry with its paths made absolute. */
export function reachOf({ endpoint, tls, ssh }: ReachEntry, at: (path: string) => string): ReachConfig {
  return {
    endpoint,
    ...(tls === undefined ? {} : { tls: typeof tls === 'string' ? at(tls) : { ca: at(tls.ca), cert: at(tls.cert), key: at(tls.key) } }),
    ...defined({ ssh: ssh && sshOf(ssh, at) }),
  };
}

function sshOf({ config, identity, knownHosts, jump, as, keepalive }: SshEntry, at: (path: string) => string): SshConfig {
  const path = (given: string | undefined) => (given === undefined ? undefined : at(given));
  return { config: path(config), identity: path(identity), knownHosts: path(knownHosts), jump, as, keepaliveMs: keepalive };
}
