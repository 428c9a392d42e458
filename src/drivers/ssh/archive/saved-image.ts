import { z } from 'zod';
import type { SpooledFile } from './spool.ts';

const strings = z.array(z.string().max(131_072)).max(10_000).nullish();
const set = z.record(z.string().max(4_096), z.unknown()).nullish();

/**
 * The part of an image's configuration that Docker 1.6 knows (moby runconfig/config.go at v1.6.2). Everything else, a health check or
 * a stop signal for instance, is left out.
 */
export const V1ImageConfig = z
  .object({
    User: z.string().max(1_024).nullish(),
    ExposedPorts: set,
    Env: strings,
    Entrypoint: strings,
    Cmd: strings,
    Volumes: set,
    WorkingDir: z.string().max(4_096).nullish(),
    Labels: z.record(z.string(), z.string()).nullish(),
    OnBuild: strings,
  })
  .transform(({ ExposedPorts, Volumes, Labels, ...others }) => {
    const names = (value: object | null | undefined) => value && Object.fromEntries(sorted(value).map(([name]) => [name, {}]));
    const labels = Labels && Object.fromEntries(sorted(Labels));
    const all = { ...others, ExposedPorts: names(ExposedPorts), Volumes: names(Volumes), Labels: labels };
    return Object.fromEntries(sorted(all).filter(([, value]) => value !== undefined && value !== null));
  });
export type V1ImageConfig = z.output<typeof V1ImageConfig>;

function sorted(value: object): [string, unknown][] {
  return Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
}

/** A time that Go's time.Time can read. Anything else becomes 1970, which Docker itself writes for an unknown time. */
export const Created = z.iso.datetime({ offset: true }).catch('1970-01-01T00:00:00Z').default('1970-01-01T00:00:00Z');

/** One of an archive's images, in any layout. */
export interface SavedImage {
  /** `repository:tag`; empty for an image that was saved by its id. */
  names: string[];
  created: string;
  architecture: string;
  config: V1ImageConfig;
  /** Lowest first. */
  layers: SpooledFile[];
}

/** A layer of the v1 layout, which has an id and a parent. */
export interface V1Layer {
  id: string;
  parent: string | undefined;
  created: string;
  architecture: string | undefined;
  config: V1ImageConfig | undefined;
  file: SpooledFile;
}
