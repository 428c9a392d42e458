import type { SandboxNetwork } from '../model/driver-kind.ts';
import { checkEntries } from '../model/entries.ts';
import { KatafleetError } from '../model/errors.ts';
import { compileGlobs, type GlobProgram } from '../model/glob.ts';
import { canonicalImage, isImageName } from '../model/image-name.ts';
import { type Placing, unplaced } from '../model/placing.ts';
import { poolKey, type Profile, profileOf, type SandboxLimits, sandboxLimits } from '../model/profile.ts';
import { type RunRequest, Step } from '../model/request.ts';
import { fitsExec } from '../protocol/requests.ts';
import type { Wanted } from '../scheduler/place/placement.ts';
import { mostStdin, variablesOf } from './attempt/execute.ts';

/** A run whose request has been checked. */
export interface Job {
  request: RunRequest;
  placing: Placing;
  /** Canonical name. */
  image: string;
  steps: Step[];
  profile: Profile;
  limits: SandboxLimits;
  /** What the scheduler's pools and queue know it by. */
  pool: string;
  collect: boolean;
  /** What shall come back; all if absent. */
  back?: GlobProgram;
  /** Bytes of its files and standard inputs. */
  bytes: number;
}

/** @throws request.invalid, limits.invalid, files.path */
export function checkJob(request: RunRequest, placing: Placing = unplaced): Job {
  const parsed = Step.array().min(1).max(10_000).safeParse(request.steps);
  if (!parsed.success) {
    const faults = parsed.error.issues.map((issue) => `${issue.path.join('.') || 'steps'}: ${issue.message}`);
    throw new KatafleetError('request.invalid', `steps: ${faults.join('; ')}`);
  }
  checkSteps(parsed.data);
  if (!isImageName(request.image)) {
    throw new KatafleetError(
      'request.invalid',
      `image: expected a name as docker has them, REPOSITORY[:TAG][@DIGEST] or an id, of at most 512 characters, got ${JSON.stringify(request.image.slice(0, 512))}`,
    );
  }
  if (request.session !== undefined && !/^[\x21-\x7e]{1,255}$/.test(request.session)) {
    throw new KatafleetError(
      'request.invalid',
      `session: expected 1 to 255 printable characters of ASCII without spaces, got ${JSON.stringify(request.session)}`,
    );
  }
  checkEntries(request.files, request.folders ?? []);
  if (request.rsync && request.session !== undefined)
    throw new KatafleetError('request.invalid', 'rsync: a run of a session gives its files with it, for only those that changed travel');
  if (request.rsync && request.files.length + (request.folders?.length ?? 0) > 0)
    throw new KatafleetError('request.invalid', 'rsync: give either an rsync source or files and folders, not both');
  const profile = profileOf(request.profile);
  if (request.rsync && profile.network !== undefined)
    throw new KatafleetError('request.invalid', 'rsync: a profile whose programs have a network takes files with the run, not by rsync');
  const limits: SandboxLimits = { ...sandboxLimits(profile), ...(request.rsync ? { network: 'rsync' as const } : {}) };
  const image = canonicalImage(request.image);
  const files = request.files.reduce(
    (sum, { path, content }) => sum + path.length + ('size' in content ? content.size : content.length),
    0,
  );
  const stdin = parsed.data.reduce((sum, step) => sum + (step.stdin?.length ?? 0), 0);
  return {
    request,
    placing,
    image,
    steps: parsed.data,
    profile,
    limits,
    pool: poolKey(image, limits),
    collect: request.collect ?? true,
    ...(request.back === undefined ? {} : { back: compileGlobs(request.back) }),
    bytes: files + stdin,
  };
}

/** What no supervisor takes is refused before a sandbox is. @throws request.invalid */
function checkSteps(steps: readonly Step[]): void {
  for (const [index, { argv, env, cwd = '', stdin }] of steps.entries()) {
    if (!fitsExec({ argv, env: variablesOf(env), cwd }))
      throw new KatafleetError('request.invalid', `steps.${index}: its arguments and environment are larger than 64 KiB together`);
    if (stdin && stdin.length > mostStdin)
      throw new KatafleetError('request.invalid', `steps.${index}: standard input is larger than 64 MiB`);
  }
}

/** The networks that a sandbox with these limits needs. */
export function networksOf({ network, joins }: Pick<SandboxLimits, 'network' | 'joins'>): SandboxNetwork[] {
  return [...(network === undefined ? [] : (['rsync'] as const)), ...(joins === undefined ? [] : (['profile'] as const))];
}

/** A job as the scheduler sees it. */
export function wantedOf(job: Job, idleMemory: number, avoid?: ReadonlySet<string>): Wanted {
  const { image, limits, pool, placing } = job;
  return {
    image,
    pool,
    memory: limits.memory,
    cpus: limits.cpus,
    idleMemory,
    constraints: placing.constraints,
    networks: networksOf(limits),
    ...(placing.architecture === undefined ? {} : { architecture: placing.architecture }),
    ...(avoid && avoid.size > 0 ? { avoid } : {}),
  };
}
