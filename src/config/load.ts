import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { KatafleetError, messageOf } from '../model/errors.ts';
import { profileOf } from '../model/profile.ts';
import { serverMemory } from '../base/server-memory.ts';
import { parseConfig } from './parse.ts';
import { type ReachConfig, reachOf } from './reach.ts';
import { type Config, ConfigFile, type NodeConfig } from './schema.ts';

export interface Loaded {
  config: Config;
  /** Path of the file that it was read from; undefined if there is none, and the local engine is used. */
  source: string | undefined;
}

/** Where to look for a configuration. */
export interface ConfigPlace {
  file?: string | undefined;
  env: NodeJS.ProcessEnv;
  cwd: string;
}

/** Returns the text of the configuration that {@link loadConfig} loads; error messages name its file by `shown`. @throws config.missing */
export function readConfig({ file, env, cwd }: ConfigPlace): { source: string; shown: string; text: string } | undefined {
  const named = file ?? (env['KATAFLEET_CONFIG'] || undefined);
  const source =
    named === undefined
      ? [join(cwd, 'katafleet.yaml'), '/etc/katafleet/katafleet.yaml'].find((path) => existsSync(path))
      : resolve(cwd, named);
  if (source === undefined) return undefined;
  const shown = named ?? source;
  try {
    return { source, shown, text: readFileSync(source, 'utf8') };
  } catch (cause) {
    throw new KatafleetError('config.missing', `the configuration ${shown} can't be read: ${messageOf(cause)}`, { cause });
  }
}

/**
 * Loads the configuration from the named file, else from the one in KATAFLEET_CONFIG, else from ./katafleet.yaml, else from
 * /etc/katafleet/katafleet.yaml; without a file, everything is a default.
 * @throws config.missing; config.invalid with a line for each fault
 */
export function loadConfig(place: ConfigPlace): Loaded {
  const { env, cwd } = place;
  const read = readConfig(place);
  if (!read) return { config: complete(ConfigFile.parse({}), cwd, env), source: undefined };
  const { source, shown, text } = read;
  const { value, fault } = parseConfig(text, shown);
  const config = complete(value, dirname(source), env);
  for (const [index, node] of (config.nodes ?? []).entries()) checkFiles(node, ['nodes', index], fault);
  for (const [index, worker] of config.swarm.workers.entries()) checkFiles(worker, ['swarm', 'workers', index], fault);
  return { config, source };
}

/** Checks that the files of an entry exist. @throws config.invalid for the first one that does not */
function checkFiles({ tls, ssh }: ReachConfig, path: readonly PropertyKey[], fault: ReturnType<typeof parseConfig>['fault']): void {
  const files =
    typeof tls === 'string' ? ['ca.pem', 'cert.pem', 'key.pem'].map((part) => join(tls, part)) : tls ? [tls.ca, tls.cert, tls.key] : [];
  for (const name of files) if (!existsSync(name)) throw fault([...path, 'tls'], `there is no file ${name}`);
  // This process may not see files of another user.
  for (const field of ['config', 'identity', 'knownHosts'] as const) {
    const name = ssh?.as === undefined ? ssh?.[field] : undefined;
    if (name !== undefined && !existsSync(name)) throw fault([...path, 'ssh', field], `there is no file ${name}`);
  }
}

/** Adds the defaults that depend on other fields or on the machine, and makes paths absolute. */
function complete(given: ReturnType<typeof ConfigFile.parse>, folder: string, env: NodeJS.ProcessEnv): Config {
  const { defaults, journal, katas, nodes, profiles, queue, rsync, server, swarm } = given;
  const memory = serverMemory();
  const at = (path: string) => resolve(folder, path);
  const journalFile = journal.file === undefined ? join(stateFolder(env), 'journal.db') : at(journal.file);
  return {
    ...given,
    nodes: nodes?.map(({ memory, endpoint, tls, ssh, driver, withoutMemoryLimits, ...node }): NodeConfig => ({
      ...node,
      ...reachOf({ endpoint, tls, ssh }, at),
      driver: driver ?? defaults.driver,
      reserve: memory.reserve ?? defaults.reserve,
      withoutMemoryLimits: withoutMemoryLimits ?? defaults.withoutMemoryLimits,
    })),
    profiles: { default: profileOf(), ...profiles },
    queue: { ...queue, bytes: queue.bytes ?? memory.requests },
    server: { ...server, bodyLimit: server.bodyLimit ?? memory.bodyLimit },
    journal: { ...journal, file: journalFile },
    rsync: {
      ...rsync,
      program: rsync.program.includes('/') ? at(rsync.program) : rsync.program,
      folder: rsync.folder === undefined ? join(dirname(journalFile), 'rsync') : at(rsync.folder),
      advertise: rsync.advertise ?? rsync.listen,
      roots: rsync.roots.map(at),
    },
    swarm: {
      ...swarm,
      key: swarm.key === undefined ? join(dirname(journalFile), 'swarm.key') : at(swarm.key),
      workers: swarm.workers.map((worker) => reachOf(worker, at)),
    },
    katas: { folder: katas.folder === undefined ? join(stateFolder(env), 'katas') : at(katas.folder) },
  };
}

function stateFolder(env: NodeJS.ProcessEnv): string {
  if (env['XDG_STATE_HOME']) return join(env['XDG_STATE_HOME'], 'katafleet');
  return process.getuid?.() === 0 ? '/var/lib/katafleet' : join(env['HOME'] ?? homedir(), '.local/state/katafleet');
}
