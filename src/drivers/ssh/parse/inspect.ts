import { z } from 'zod';
import { exactTime } from '../../docker/exact-time.ts';
import { malformed } from './malformed.ts';

const Labels = z.record(z.string(), z.string()).nullish().catch(undefined);

const Words = z.array(z.string()).nullish().catch(undefined);

const Container = z.object({
  Id: z.string().regex(/^[0-9a-f]{64}$/),
  Name: z.string().default(''),
  Created: z.string().default(''),
  State: z.object({
    Running: z.boolean(),
    ExitCode: z.number().int(),
    OOMKilled: z.boolean().default(false),
    Dead: z.boolean().default(false),
    // The zero time, year 1, until it is started.
    StartedAt: z.string().default(''),
  }),
  Config: z.object({ Labels }),
});

const Image = z.object({
  Id: z.string().regex(/^(sha256:)?[0-9a-f]{64}$/),
  Architecture: z.string().default(''),
  RepoTags: z.array(z.string()).nullish(),
  Config: z
    .object({
      Labels,
      Volumes: z.record(z.string(), z.unknown()).nullish(),
      OnBuild: z.array(z.string()).nullish(),
      Entrypoint: Words,
      Cmd: Words,
    })
    .nullish(),
});

export interface InspectedContainer {
  id: string;
  /** Without the slash in front. */
  name: string;
  running: boolean;
  /** Whether it has not ended: it runs, or it was never started. */
  alive: boolean;
  /** When it was made by the engine's clock, Unix ms; undefined if the engine does not say it. */
  created: number | undefined;
  exitCode: number;
  oomKilled: boolean;
  labels: Readonly<Record<string, string>>;
}

export interface InspectedImage {
  /** `sha256:` and 64 hex digits. */
  id: string;
  architecture: string;
  tags: string[];
  labels: Readonly<Record<string, string>>;
  volumes: string[];
  /** Instructions that a build FROM this image runs. */
  onBuild: string[];
  config: { Entrypoint?: string[] | null | undefined; Cmd?: string[] | null | undefined };
}

export interface Inspected {
  containers: InspectedContainer[];
  images: InspectedImage[];
}

/**
 * Parses `docker inspect` of containers and images, which is one array. It leaves out what is missing, and is `[]` if nothing was
 * found; the exit code is 1 then. @throws engine.failed
 */
export function parseInspect(text: string): Inspected {
  let answer: unknown;
  try {
    answer = JSON.parse(text.trim() === '' ? '[]' : text);
  } catch {
    throw malformed('inspect', 'JSON', text);
  }
  if (!Array.isArray(answer)) throw malformed('inspect', 'an array', text);
  const found: Inspected = { containers: [], images: [] };
  for (const one of answer as unknown[]) {
    // Only a container has a state.
    if (typeof one === 'object' && one !== null && 'State' in one) {
      const parsed = Container.safeParse(one);
      if (!parsed.success) throw malformed('inspect', `a container (${parsed.error.issues[0]?.path.join('.') ?? ''})`, JSON.stringify(one));
      const { Id, Name, Created, State, Config } = parsed.data;
      const { Running, ExitCode, OOMKilled, Dead, StartedAt } = State;
      const name = Name.replace(/^\//, '');
      const alive = Running || (!Dead && StartedAt.startsWith('0001-'));
      const created = exactTime(Created);
      const own = Config.Labels ?? {};
      found.containers.push({ id: Id, name, running: Running, alive, created, exitCode: ExitCode, oomKilled: OOMKilled, labels: own });
    } else {
      const parsed = Image.safeParse(one);
      if (!parsed.success) throw malformed('inspect', `an image (${parsed.error.issues[0]?.path.join('.') ?? ''})`, JSON.stringify(one));
      const { Id, Architecture, RepoTags, Config } = parsed.data;
      const [labels, volumes] = [Config?.Labels ?? {}, Object.keys(Config?.Volumes ?? {})];
      found.images.push({
        id: Id.startsWith('sha256:') ? Id : `sha256:${Id}`,
        architecture: Architecture,
        tags: RepoTags ?? [],
        labels,
        volumes,
        onBuild: Config?.OnBuild ?? [],
        config: { Entrypoint: Config?.Entrypoint, Cmd: Config?.Cmd },
      });
    }
  }
  return found;
}
