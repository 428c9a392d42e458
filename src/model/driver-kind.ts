/** The kinds of drivers, in order of preference: if several serve an endpoint, the first is taken. */
export const driverKinds = ['swarm', 'engine', 'ssh'] as const;
export type DriverKind = (typeof driverKinds)[number];

/**
 * A network that a sandbox may need: `rsync` is the one in which katafleet's own rsync fetches files, `profile` the one that a
 * profile names for the program.
 */
export const sandboxNetworks = ['rsync', 'profile'] as const;
export type SandboxNetwork = (typeof sandboxNetworks)[number];

/** What a driver can do on every node that it serves. */
export interface DriverAbilities {
  /** The networks that it can give to a sandbox. */
  readonly networks: readonly SandboxNetwork[];
  /** Its nodes have an Engine API, which builds images for instance. */
  readonly engineApi: boolean;
  /** It can keep a sandbox from using swap only on a node whose kernel accounts for swap. */
  readonly needsSwapLimits: boolean;
}

/** Which driver the configuration may ask for: the best one (`auto`), or one kind only. */
export const driverPolicies = ['auto', ...driverKinds] as const;
export type DriverPolicy = (typeof driverPolicies)[number];

/** A scheme of endpoints: whether it names a path or a host, and its form in messages and help, if it is shown. */
interface Scheme {
  readonly names: 'path' | 'host';
  readonly form?: string;
}
const schemes = {
  unix: { names: 'path', form: 'unix:///path' },
  tcp: { names: 'host', form: 'tcp://host:port' },
  http: { names: 'host' },
  https: { names: 'host' },
  ssh: { names: 'host', form: 'ssh://user@host' },
} as const satisfies Record<string, Scheme>;
export type EndpointScheme = keyof typeof schemes;

const forms = Object.values<Scheme>(schemes).flatMap(({ form }) => form ?? []);
/** The forms of an endpoint, for messages. */
export const endpointForms = `${forms.slice(0, -1).join(', ')} or ${forms.at(-1) ?? ''}`;

/** Whether a text is an endpoint of a known scheme. */
export function isEndpoint(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, pathname, hostname } = new URL(text);
  const scheme = protocol.slice(0, -1);
  if (!Object.hasOwn(schemes, scheme)) return false;
  return schemes[scheme as EndpointScheme].names === 'path' ? pathname.length > 1 : hostname !== '';
}
