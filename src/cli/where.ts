import { loadConfig } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import { cacheFolder } from '../drivers/engine/remembered.ts';
import { Katafleet } from '../app/library.ts';
import { optionsOf } from '../app/options.ts';
import { Client } from '../client/client.ts';

/** The options that every command shares. */
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

/** The fleet of the configuration, which who has read it already gives along, or the single engine that `--host` names. */
export function fleetOf(where: Where, config?: Config): Katafleet {
  const cache = cacheFolder(process.env);
  if (where.endpoint !== undefined) return new Katafleet({ endpoint: where.endpoint, cache });
  return new Katafleet({ ...optionsOf(config ?? configOf(where)), cache });
}

/** The server that was named, by `--server` or KATAFLEET_SERVER. */
export function namedServer({ server }: Where): Client | undefined {
  const url = server ?? process.env['KATAFLEET_SERVER'];
  return url === undefined || url === '' ? undefined : new Client(url);
}

/** The server that was named, else the one that the configuration would start. */
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

/** A server that runs here, unless a single engine was named; commands that only look go to the nodes themselves without one. */
export async function runningServer(where: Where): Promise<Client | undefined> {
  const named = namedServer(where);
  if (named) return named;
  if (where.endpoint !== undefined) return undefined;
  const server = serverOf(where);
  return (await server.answers()) ? server : undefined;
}
