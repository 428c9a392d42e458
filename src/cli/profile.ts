import { Option } from 'commander';
import type { z } from 'zod';
import type { Config } from '../config/schema.ts';
import { nearest } from '../config/nearest.ts';
import { KatafleetError } from '../model/errors.ts';
import { ownLimits, saidLimits } from '../model/limits.ts';
import type { Profile } from '../model/profile.ts';
import type { RunRequest } from '../model/request.ts';
import type { RemoteRequest } from '../model/request-json.ts';

/** `--limit`, of every command that runs something. */
export const limitOption = (): Option =>
  new Option(
    '--limit <name=value>',
    `a limit, such as openFiles=64 or stack=8m, in the units of the configuration; may be repeated. Limits: ${saidLimits.join(', ')}`,
  ).argParser((limit: string, all: string[] | undefined) => [...(all ?? []), limit]);

/** `--profile`, of the same commands. @param absent what holds if it is not given */
export const profileOption = (absent: string): Option =>
  new Option('--profile <name>', `take the limits of a configured profile; other options override them (default: ${absent})`);

/**
 * The limits that a run begins with: those of the named profile, else of the profile `default` where there is one.
 * @throws limits.invalid, for a name that the configuration does not have
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
 * The request for a server that has the profile itself; unchanged where no profile is named. @throws limits.invalid for limits that
 * the server does not take beside the name
 */
export function withProfile(request: RunRequest, name: string | undefined): RemoteRequest {
  if (name === undefined) return request;
  refuseBeside(name, request.profile ?? {});
  return onProfile(request, name);
}

const isOwn = (limit: string) => (ownLimits as readonly string[]).includes(limit);

/**
 * The API takes a profile's name or limits, not both; only limits that a step may have of its own can go with the steps.
 * @throws limits.invalid for any other limit beside the name
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

/** The request with a profile of the server's. Limits that a step may have of its own go to the steps, the profile gives the others. */
export function onProfile(request: RunRequest, name: string): RemoteRequest {
  const limits = Object.fromEntries(Object.entries(request.profile ?? {}).filter(([limit]) => isOwn(limit)));
  return { ...request, profile: name, steps: request.steps.map((step) => ({ ...step, limits: { ...limits, ...step.limits } })) };
}
