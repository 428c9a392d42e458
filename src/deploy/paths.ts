import { posix } from 'node:path';
import type { KeyPath, parseConfig } from '../config/parse.ts';
import { socketPath } from '../model/endpoint.ts';
import { KatafleetError } from '../model/errors.ts';
import type { StackKind } from './stack.ts';

type Parsed = ReturnType<typeof parseConfig>;
interface Named {
  path: KeyPath;
  value: string | undefined;
}

/** The paths that the stacks mount: see stacks/compose.yaml and stacks/swarm.yaml. All others belong to the image and are read-only. */
const [state, temporary, secrets, socket] = ['/var/lib/katafleet', '/tmp', '/run/secrets', '/var/run/docker.sock'];
/** The folder of the configuration in the container: relative paths begin there. */
const configFolder = '/etc/katafleet';

/**
 * Checks that each path in a configuration is one that the container has: its volumes and, in a swarm, its secrets.
 * @throws config.invalid with a line for each other path
 */
export function requireContainerPaths(config: Parsed['value'], kind: StackKind, fault: Parsed['fault']): void {
  const readable = kind === 'swarm' ? [state, temporary, secrets] : [state, temporary];
  const faults = [
    ...outside(written(config), [state, temporary]),
    ...outside(read(config), readable),
    // The image's /var/run is a link to /run.
    ...outside(sockets(config), [socket, posix.join('/', posix.relative('/var', socket))]),
  ].map(({ path, value = '', among }) => {
    const has = among.length > 1 ? `${among.slice(0, -1).join(', ')} and ${among.at(-1) ?? ''}` : among.join('');
    return fault(path, `${JSON.stringify(value)} is a path that katafleet's container does not have; it has ${has}`).message;
  });
  if (faults.length > 0)
    throw new KatafleetError('config.invalid', faults.join('\n'), {
      hint: `the state of katafleet is in the volume at ${state}; provide other files by that volume${kind === 'swarm' ? ' or by a secret' : ''} in your own stack file`,
    });
}

function outside(named: readonly Named[], among: readonly string[]): (Named & { among: readonly string[] })[] {
  const within = (value: string) => {
    const path = posix.resolve(configFolder, value);
    return among.some((folder) => path === folder || path.startsWith(`${folder}/`));
  };
  return named.filter(({ value }) => value !== undefined && !within(value)).map((one) => ({ ...one, among }));
}

/** Paths that katafleet creates and writes. */
function written({ journal, katas, rsync }: Parsed['value']): Named[] {
  return [
    { path: ['journal', 'file'], value: journal.file },
    { path: ['katas', 'folder'], value: katas.folder },
    { path: ['rsync', 'folder'], value: rsync.folder },
  ];
}

/** Paths that must exist already. The program rsync comes with the image. */
function read({ nodes = [], swarm, rsync }: Parsed['value']): Named[] {
  const reached = [
    ...nodes.map((node, index) => ({ node, at: ['nodes', index] })),
    ...swarm.workers.map((node, index) => ({ node, at: ['swarm', 'workers', index] })),
  ];
  return [
    { path: ['swarm', 'key'], value: swarm.key },
    ...rsync.roots.map((value, index) => ({ path: ['rsync', 'roots', index], value })),
    ...reached.flatMap(({ node: { tls, ssh }, at }) => [
      ...(typeof tls === 'string'
        ? [{ path: [...at, 'tls'], value: tls }]
        : Object.entries(tls ?? {}).map(([part, value]) => ({ path: [...at, 'tls', part], value }))),
      ...(['config', 'identity', 'knownHosts'] as const).map((field) => ({ path: [...at, 'ssh', field], value: ssh?.[field] })),
    ]),
  ];
}

/** Engines on the container's own host: their socket is mounted. */
function sockets({ nodes = [], swarm }: Parsed['value']): Named[] {
  return [
    ...nodes.map(({ endpoint }, index) => ({ path: ['nodes', index, 'endpoint'], value: socketPath(endpoint) })),
    ...swarm.workers.map(({ endpoint }, index) => ({ path: ['swarm', 'workers', index, 'endpoint'], value: socketPath(endpoint) })),
  ];
}
