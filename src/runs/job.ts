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

/** How long a run may be on a node beyond the times of its steps, for its files to travel, ms. */
const travelMs = 60_000;

/** A run with a checked request. */
export interface Job {
  request: RunRequest;
  placing: Placing;
  /** Canonical name. */
  image: string;
  steps: Step[];
  profile: Profile;
  limits: SandboxLimits;
  /** Key of its pool of sandboxes, also in the queue. */
  pool: string;
  collect: boolean;
  /** Paths of the files to send back; all if absent. */
  back?: GlobProgram;
  /** Bytes of its files, standard inputs, arguments and variables. */
  bytes: number;
  /** How long it may be on a node at most, ms; longer only while its transfers wait for those of other runs. */
  longestMs: number;
}

const Steps = Step.array().min(1).max(10_000);

/** @throws request.invalid, limits.invalid, files.path */
export function checkJob(request: RunRequest, placing: Placing = unplaced): Job {
  const parsed = Steps.safeParse(request.steps);
  if (!parsed.success) {
    const faults = parsed.error.issues.map((issue) => `${issue.path.join('.') || 'steps'}: ${issue.message}`);
    throw new KatafleetError('request.invalid', `steps: ${faults.join('; ')}`);
  }
  checkSteps(parsed.data);
  if (!isImageName(request.image)) {
    throw new KatafleetError(
      'request.invalid',
      `image: expected a docker image name, REPOSITORY[:TAG][@DIGEST] or an id, of at most 512 characters, got ${JSON.stringify(request.image.slice(0, 512))}`,
    );
  }
  if (request.session !== undefined && !/^[\x21-\x7e]{1,255}$/.test(request.session)) {
    throw new KatafleetError(
      'request.invalid',
      `session: expected 1 to 255 printable ASCII characters without spaces, got ${JSON.stringify(request.session)}`,
    );
  }
  checkEntries(request.files, request.folders ?? []);
  if (request.rsync && request.session !== undefined)
    throw new KatafleetError(
      'request.invalid',
      'rsync: a run of a session must send its files in the request, because only changed files travel',
    );
  if (request.rsync && request.files.length + (request.folders?.length ?? 0) > 0)
    throw new KatafleetError('request.invalid', 'rsync: give either an rsync source or files and folders, not both');
  const profile = profileOf(request.profile);
  if (request.rsync && profile.network !== undefined)
    throw new KatafleetError('request.invalid', 'rsync: a profile with a network takes files in the request, not by rsync');
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
    bytes: files + stdin + parsed.data.reduce((sum, step) => sum + wordsOf(step), 0),
    longestMs: parsed.data.reduce((sum, step) => sum + (step.limits?.wallMs ?? profile.wallMs), travelMs),
  };
}

/** Returns how long a step's arguments and variables are: a request may have 10,000 steps of 64 KiB each. */
function wordsOf({ argv, env }: Step): number {
  const lengths = (words: readonly string[]) => words.reduce((sum, word) => sum + word.length, 0);
  return lengths(argv) + lengths(Object.keys(env)) + lengths(Object.values(env));
}

/** Refuses steps that no supervisor accepts, before a sandbox is taken. @throws request.invalid */
function checkSteps(steps: readonly Step[]): void {
  for (const [index, { argv, env, cwd = '', stdin }] of steps.entries()) {
    if (!fitsExec({ argv, env: variablesOf(env), cwd }))
      throw new KatafleetError('request.invalid', `steps.${index}: argv and env together are larger than 64 KiB`);
    if (stdin && stdin.length > mostStdin) throw new KatafleetError('request.invalid', `steps.${index}: stdin is larger than 64 MiB`);
  }
}

/** Returns the networks that a sandbox with these limits needs. */
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
    lastsMs: job.longestMs,
    ...(placing.architecture === undefined ? {} : { architecture: placing.architecture }),
    ...(avoid && avoid.size > 0 ? { avoid } : {}),
  };
}
