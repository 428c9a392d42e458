/** What a driver can be, in order of preference: where several serve an endpoint, the first is taken. */
export const driverKinds = ['swarm', 'engine', 'ssh'] as const;
export type DriverKind = (typeof driverKinds)[number];

/** What the configuration may want of an endpoint's driver: the best one, or one and no other. */
export const driverPolicies = ['auto', ...driverKinds] as const;
export type DriverPolicy = (typeof driverPolicies)[number];

/** Schemes of endpoints: whether it names a path or a host, and how messages write it, where they do. */
const schemes: Readonly<Record<string, { names: 'path' | 'host'; form?: string }>> = {
  unix: { names: 'path', form: 'unix:///path' },
  tcp: { names: 'host', form: 'tcp://host:port' },
  http: { names: 'host' },
  https: { names: 'host' },
  ssh: { names: 'host', form: 'ssh://user@host' },
};

/** What an endpoint looks like, for messages. */
export const endpointForms = new Intl.ListFormat('en-GB', { type: 'disjunction' }).format(
  Object.values(schemes).flatMap(({ form }) => form ?? []),
);

/** Whether a text is an endpoint of a known scheme. */
export function isEndpoint(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, pathname, hostname } = new URL(text);
  const scheme = protocol.slice(0, -1);
  if (!Object.hasOwn(schemes, scheme)) return false;
  return schemes[scheme]?.names === 'path' ? pathname.length > 1 : hostname !== '';
}
