import { labels } from '../../model/labels.ts';

/**
 * The name of a sandbox's container, which is known before the engine answers. It carries the sandbox's owner and its memory limit,
 * because `docker ps` of an old engine shows names only.
 */
export function containerName(sandbox: string, memory: number): string {
  return `katafleet-${sandbox.toLowerCase().replace(/[^a-z0-9-]/g, '-')}-m${memory}`;
}

/** Returns a container's memory limit, bytes, from its label or its name; undefined for containers of a katafleet that wrote neither. */
export function memoryOf(own: Readonly<Record<string, string>>, name = ''): number | undefined {
  const written = own[labels.memory] ?? /^\/?katafleet-.*-m(\d{1,16})$/.exec(name)?.[1];
  return written !== undefined && /^\d{1,16}$/.test(written) ? Number(written) : undefined;
}
