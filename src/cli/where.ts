import { loadConfig } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import { cacheFolder } from '../drivers/engine/remembered.ts';
import { Katafleet } from '../app/library.ts';
import { optionsOf } from '../app/options.ts';
import { Client } from '../client/client.ts';

/** The options that all commands share. */
export interface Where {
  /** `--host`: a single engine. */
  endpoint?: string;
  /** `--config`. */
  config?: string;
  /** `--server`. */
  server?: string;
}

export type At = () => Where;

export function configOf({ config }: Where): Config {
  return loadConfig({ env: process.env, cwd: process.cwd(), file: config }).config;
}

/** Returns the fleet of the configuration (`config`, if the caller has loaded it), or the single engine of `--host`. */
export function fleetOf(where: Where, config?: Config): Katafleet {
  const cache = cacheFolder(process.env);
  if (where.endpoint !== undefined) return new Katafleet({ endpoint: where.endpoint, cache });
  return new Katafleet({ ...optionsOf(config ?? configOf(where)), cache });
}

/** Returns the server that `--server` or KATAFLEET_SERVER names. */
export function namedServer({ server }: Where): Client | undefined {
  const url = server ?? process.env['KATAFLEET_SERVER'];
  return url === undefined || url === '' ? undefined : new Client(url);
}

/** Returns the named server, else the one that the configuration would start. */
export function serverOf(where: Where): Client {
  return (
    namedServer(where) ??
    new Client(
      `http://${configOf(where)
        .server.listen.replace(/^0\.0\.0\.0:/, '127.0.0.1:')
        .replace(/^\[::\]:/, '[::1]:')}`,
    )
  );
}

/**
 * Returns a server that runs on this machine, unless `--host` names a single engine. Without one, commands that only read ask the nodes
 * themselves.
 */
export async function runningServer(where: Where): Promise<Client | undefined> {
  const named = namedServer(where);
  if (named) return named;
  if (where.endpoint !== undefined) return undefined;
  const server = serverOf(where);
  return (await server.answers()) ? server : undefined;
}
