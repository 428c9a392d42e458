import { KatafleetError } from '../../model/errors.ts';

/** The newest API that katafleet supports, and the oldest that can run a sandbox (engine 1.12). */
const newest: ApiVersion = [1, 51];
const oldest: ApiVersion = [1, 24];

export type ApiVersion = readonly [major: number, minor: number];

export function parseApiVersion(text: string): ApiVersion {
  const match = /^(\d+)\.(\d+)$/.exec(text);
  if (!match) throw new KatafleetError('engine.failed', `the engine names its API version "${text}"; expected one such as 1.41`);
  return [Number(match[1]), Number(match[2])];
}

export function atLeast(version: ApiVersion, [major, minor]: ApiVersion): boolean {
  return version[0] > major || (version[0] === major && version[1] >= minor);
}

/**
 * Returns the API version for an engine, from its own report: katafleet's newest or the engine's newest, whichever is lower.
 * @throws engine.too_old if that is below 1.24; engine.failed if the engine needs a newer one than katafleet supports
 */
export function negotiate(engine: { Version?: string; ApiVersion: string; MinAPIVersion?: string | undefined }): ApiVersion {
  const theirs = parseApiVersion(engine.ApiVersion);
  const chosen = atLeast(theirs, newest) ? newest : theirs;
  const name = `the engine (Docker ${engine.Version ?? 'of unknown version'}, API ${engine.ApiVersion})`;
  if (!atLeast(chosen, oldest)) {
    throw new KatafleetError('engine.too_old', `${name} is too old for its API to be used: 1.24 (Docker 1.12) is the least`, {
      hint: 'upgrade the engine to Docker 20.10 or later',
    });
  }
  if (engine.MinAPIVersion !== undefined && !atLeast(chosen, parseApiVersion(engine.MinAPIVersion))) {
    throw new KatafleetError(
      'engine.failed',
      `${name} takes API ${engine.MinAPIVersion} or later; this katafleet speaks up to ${newest.join('.')}`,
      {
        hint: 'upgrade katafleet, or start the engine with a lower DOCKER_MIN_API_VERSION',
      },
    );
  }
  return chosen;
}
