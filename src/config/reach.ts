import { defined } from '../base/defined.ts';
import { z } from 'zod';
import { hour, second } from '../base/units.ts';
import { endpointForms, isEndpoint } from '../model/driver-kind.ts';
import { maskEndpoint } from '../model/endpoint.ts';
import { duration } from './fields.ts';

/** How an engine is reached: its endpoint, with its keys and options. */

export const file = z.string().min(1).max(4_095);

export const endpoint = z.string().superRefine((text, context) => {
  if (!isEndpoint(text))
    context.addIssue({ code: 'custom', message: `expected ${endpointForms}, got ${JSON.stringify(maskEndpoint(text))}` });
});

/** Options of ssh for an ssh:// endpoint. If one is absent, the user's own ssh configuration decides. */
const SshEntry = z.strictObject({
  /** A file that replaces ~/.ssh/config. */
  config: file.optional(),
  /** A private key; no other is used. */
  identity: file.optional(),
  knownHosts: file.optional(),
  /** Hosts to jump through. */
  jump: z
    .string()
    .regex(/^[\w.@:%[\]][\w.@:%[\],-]{0,1023}$/, 'must be [user@]host[:port], several separated by commas')
    .optional(),
  /** The local user who runs ssh, by sudo. */
  as: z
    .string()
    .regex(/^[a-z_][a-z0-9_-]{0,31}$/, 'must be the name of a user of this machine')
    .optional(),
  /** A connection that is silent for this long is asked whether it lives; after two unanswered questions it is closed. */
  keepalive: duration(second, hour).optional(),
});
type SshEntry = z.output<typeof SshEntry>;

/** Fields of each entry that has an endpoint. */
export const reachFields = {
  endpoint,
  /** A folder with ca.pem, cert.pem and key.pem, or the three files. */
  tls: z.union([file, z.strictObject({ ca: file, cert: file, key: file })]).optional(),
  ssh: SshEntry.optional(),
};
export type ReachEntry = z.output<z.ZodObject<typeof reachFields>>;

/** Refuses keys and options that do not belong to the endpoint's scheme. */
export function checkReach({ tls, ssh, endpoint: at }: ReachEntry, context: z.RefinementCtx): void {
  const misplaced = (field: string, scheme: string) =>
    context.addIssue({ code: 'custom', message: `goes with ${scheme} only, got the endpoint ${maskEndpoint(at)}`, path: [field] });
  if (tls !== undefined && !/^(tcp|https):/.test(at)) misplaced('tls', 'tcp://');
  if (ssh !== undefined && !at.startsWith('ssh:')) misplaced('ssh', 'ssh://');
}

/** Options of ssh, with absolute paths and times in ms. */
export interface SshConfig {
  config?: string | undefined;
  identity?: string | undefined;
  knownHosts?: string | undefined;
  jump?: string | undefined;
  as?: string | undefined;
  keepaliveMs?: number | undefined;
}

/** An endpoint and what is needed to reach it, with absolute paths. */
export interface ReachConfig {
  endpoint: string;
  tls?: string | { ca: string; cert: string; key: string } | undefined;
  ssh?: SshConfig | undefined;
}

/** Returns the entry with its paths made absolute. */
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
