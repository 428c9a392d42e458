import type { RemoteRequest } from '../model/request-json.ts';
import type { Config } from '../config/schema.ts';
import { nearest } from '../config/nearest.ts';
import { KatafleetError } from '../model/errors.ts';
import { ownLimits } from '../model/limits.ts';
import type { Profile } from '../model/profile.ts';
import type { RunRequest } from '../model/request.ts';

/**
 * The limits that a run begins with: those of the named profile, else of the profile `default` where there is one.
 * @throws limits.invalid, for a name that the configuration does not have
 */
export function profileNamed(name: string | undefined, config: Config | undefined): Profile | undefined {
  if (name === undefined) return config?.profiles['default'];
  if (!config) {
    throw new KatafleetError('limits.invalid', `--profile ${name} needs a configuration, and --host takes the place of one`, {
      hint: 'say the limits themselves: --limit NAME=VALUE',
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
 * The request for a server, which has the profile itself. The API takes a profile's name or limits, not both: limits that a step
 * may have of its own go to the steps. @throws limits.invalid, where others are said beside the name
 */
export function withProfile(request: RunRequest, name: string | undefined): RemoteRequest {
  if (name === undefined) return request;
  const own: readonly string[] = ownLimits;
  const said = Object.entries(request.profile ?? {});
  const others = said.flatMap(([limit]) => (own.includes(limit) ? [] : [limit]));
  if (others.length > 0) {
    throw new KatafleetError(
      'limits.invalid',
      `a server takes a profile or limits, and ${others.join(', ')} came beside --profile ${name}`,
      {
        hint: `leave one of them out; beside a profile a server takes ${own.join(', ')}`,
      },
    );
  }
  const limits = Object.fromEntries(said);
  return { ...request, profile: name, steps: request.steps.map((step) => ({ ...step, limits: { ...limits, ...step.limits } })) };
}
