import { z } from 'zod';
import { day, hour, minute, second } from '../base/units.ts';
import { defaults } from '../model/defaults.ts';
import { endpointIdentity, parseListen } from '../model/endpoint.ts';
import { Profile } from '../model/profile.ts';
import { duration, durationOrOff } from './fields.ts';
import { checkReach, file, reachFields } from './reach.ts';

const listen = z.string().refine((text) => parseListen(text) !== undefined, {
  error: (issue) => `expected HOST:PORT such as 0.0.0.0:7421, got ${JSON.stringify(issue.input)}`,
});

/** The most addresses that the supervisor takes. */
const mostAdvertised = 16;
/** One address, or several separated by commas: one for each katafleet that shares the key. */
const advertise = z.string().superRefine((text, context) => {
  const fault = (message: string) => context.addIssue({ code: 'custom', message });
  const each = text.split(',');
  if (each.length > mostAdvertised) fault(`expected at most ${mostAdvertised} addresses, got ${each.length}`);
  for (const one of each) {
    const address = parseListen(one);
    if (address === undefined || address.port === 0) fault(`expected HOST:PORT such as 10.0.0.7:7421, got ${JSON.stringify(one)}`);
    else if (['0.0.0.0', '::'].includes(address.host)) fault(`expected an address that tasks can dial, got ${JSON.stringify(one)}`);
  }
});

/** Docker looks up a name without a dot or a port on Docker Hub, so such a name is refused. */
const registry = z
  .string()
  .max(200)
  .regex(
    /^(localhost|[a-z0-9-]+(\.[a-z0-9-]+)+|[a-z0-9.-]+:\d{1,5}|\[[0-9a-f:]+\]:\d{1,5})(:\d{1,5})?(\/[a-z0-9]+([._-]+[a-z0-9]+)*)*$/,
    'expected HOST[:PORT][/PATH] of a registry, such as registry.local:5000/katafleet',
  );

/** Settings for the swarms whose managers are among the nodes; docs/config.md explains each field. */
export const SwarmEntry = z
  .strictObject({
    /** The prefix of all names that katafleet creates in a swarm. Swarm bounds names to 63 characters. */
    stack: z
      .string()
      .regex(/^[a-z0-9][a-z0-9_-]{0,31}$/, 'must be 1 to 32 small letters, digits, - or _, and begin with a letter or digit')
      .default(defaults.swarm.stack),
    listen: listen.default(`0.0.0.0:${defaults.ports.dial}`),
    advertise: advertise.optional(),
    published: z.int().min(1).max(65_535).optional(),
    dial: Profile.shape.dial.unwrap().default(defaults.swarm.dial),
    network: z
      .string()
      .regex(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/, 'expected the name of a Docker network')
      .optional(),
    key: file.optional(),
    registry: registry.optional(),
    rotate: durationOrOff(minute, 365 * day, 7 * day),
    linger: duration(0, 30 * day).default(defaults.swarm.lingerMs),
    patience: duration(second, hour).default(defaults.swarm.patienceMs),
    workers: z.array(z.strictObject(reachFields).superRefine(checkReach)).max(10_000).default([]),
  })
  .superRefine(({ workers }, context) => {
    const seen = new Map<string, number>();
    for (const [index, { endpoint, tls }] of workers.entries()) {
      const identity = endpointIdentity(endpoint, tls !== undefined);
      const same = seen.get(identity);
      if (same === undefined) seen.set(identity, index);
      else {
        const params = { first: ['swarm', 'workers', same, 'endpoint'] };
        context.addIssue({ code: 'custom', message: 'two workers have this endpoint', path: ['workers', index, 'endpoint'], params });
      }
    }
  })
  .prefault({});
