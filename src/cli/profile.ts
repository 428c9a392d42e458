import { Option } from 'commander';
import type { z } from 'zod';
import type { Config } from '../config/schema.ts';
import { nearest } from '../config/nearest.ts';
import { KatafleetError } from '../model/errors.ts';
import { ownLimits, callerLimits } from '../model/limits.ts';
import type { Profile } from '../model/profile.ts';
import type { RunRequest, StepInput } from '../model/request.ts';
import type { RemoteRequest } from '../model/request-json.ts';

/** The option `--limit` of every command that runs programs. */
export const limitOption = (): Option =>
  new Option(
    '--limit <name=value>',
    `a limit, such as openFiles=64 or stack=8m, in the units of the configuration; may be repeated. Limits: ${callerLimits.join(', ')}`,
  ).argParser((limit: string, all: string[] | undefined) => [...(all ?? []), limit]);

/** The option `--profile` of the same commands. @param absent the help's text for the value without the option */
export const profileOption = (absent: string): Option =>
  new Option('--profile <name>', `take the limits of a configured profile; other options override them (default: ${absent})`);

/**
 * Returns the limits that a run begins with: those of the named profile, else those of the profile `default` if there is one.
 * @throws limits.invalid for a name that the configuration does not have
 */
export function profileNamed(name: string | undefined, config: Config | undefined): Profile | undefined {
  if (name === undefined) return config?.profiles['default'];
  if (!config) {
    throw new KatafleetError('limits.invalid', `--profile ${name} needs a configuration, and --host takes the place of one`, {
      hint: 'give the limits themselves: --limit NAME=VALUE',
    });
  }
  const names = Object.keys(config.profiles);
  if (Object.hasOwn(config.profiles, name)) return config.profiles[name];
  const near = nearest(name, names);
  throw new KatafleetError('limits.invalid', `there is no profile "${name}"${near === undefined ? '' : `; did you mean ${near}?`}`, {
    hint: names.length === 0 ? 'the configuration has no profiles' : `the profiles are ${names.join(', ')}`,
  });
}

/**
 * Returns the request for a server, which has the profile itself; unchanged if no profile is named.
 * @throws limits.invalid for limits that the server does not take together with a profile
 */
export function withProfile(request: RunRequest, name: string | undefined): RemoteRequest {
  if (name === undefined) return request;
  refuseBeside(name, request.profile ?? {});
  return onProfile(request, name);
}

const isOwn = (limit: string) => (ownLimits as readonly string[]).includes(limit);
/** Returns those of the limits that a step can have. */
const ownOf = (limits: z.input<typeof Profile> = {}): StepInput['limits'] =>
  Object.fromEntries(Object.entries(limits).filter(([limit]) => isOwn(limit)));

/**
 * Refuses limits that cannot be sent with a profile's name. The API takes a profile or limits, not both; only limits that a step can
 * have may be given with the steps.
 * @throws limits.invalid for any other limit
 */
export function refuseBeside(name: string, limits: z.input<typeof Profile>): void {
  const others = Object.keys(limits).filter((limit) => !isOwn(limit));
  if (others.length === 0) return;
  throw new KatafleetError(
    'limits.invalid',
    `a server takes a profile or limits, not both: got ${others.join(', ')} and --profile ${name}`,
    {
      hint: `leave one of them out; with a profile a server takes only ${ownLimits.join(', ')}`,
    },
  );
}

/** Returns the request with a profile of the server. Limits that a step can have are set on the steps; the profile gives the others. */
export function onProfile(request: RunRequest, name: string): RemoteRequest {
  const limits = ownOf(request.profile);
  return { ...request, profile: name, steps: request.steps.map((step) => ({ ...step, limits: { ...limits, ...step.limits } })) };
}

/** Returns the request with a profile of the configuration: the same limits as {@link onProfile} gives, with those of `--limit` on top. */
export function onOwnProfile(request: RunRequest, profile: Profile, limits: z.input<typeof Profile>): RunRequest {
  return { ...request, profile: { ...profile, ...ownOf(request.profile), ...limits } };
}
