import { Command } from 'commander';
import { stringify } from 'yaml';
import { loadConfig } from '../../config/load.ts';
import type { Config } from '../../config/schema.ts';
import { maskEndpoint } from '../../model/endpoint.ts';
import type { At } from '../where.ts';

export function configCommand(at: At): Command {
  const command = new Command('config').description('The configuration, katafleet.yaml.');
  const load = () => {
    const { config: file } = at();
    return loadConfig({ env: process.env, cwd: process.cwd(), file });
  };
  command
    .command('check')
    .summary('check the configuration and name every fault')
    .description('Checks the configuration and names every fault with its file and line. Exits with 78 if there is one.')
    .action(() => {
      const { config, source } = load();
      const count = (number: number, what: string) => `${number} ${what}${number === 1 ? '' : 's'}`;
      const nodes = config.nodes ? count(config.nodes.length, 'node') : 'the local engine';
      const parts = [nodes, count(Object.keys(config.profiles).length, 'profile'), count(config.pools.length, 'pool')];
      process.stdout.write(`${source ?? 'no katafleet.yaml'}: fine: ${parts.join(', ')}\n`);
    });
  command
    .command('show')
    .summary('show the configuration with all defaults')
    .description('Shows the configuration with all defaults filled in, sizes in bytes and times in ms. Hides secrets.')
    .option('--json', 'print JSON')
    .action((options: { json?: boolean }) => {
      const { config } = load();
      const shown = shownConfig(config);
      process.stdout.write(options.json ? `${JSON.stringify(shown)}\n` : stringify(shown));
    });
  return command;
}

/** Returns the configuration as a file would have it: an undefined value is `off`, and absent nodes stay absent. */
export function shownConfig(config: Config): unknown {
  const off = (fields: object) => Object.fromEntries(Object.entries(fields).map(([key, value]) => [key, (value as unknown) ?? 'off']));
  const { nodes, images, schedules, swarm, ...rest } = config;
  const rotating = { ...swarm, rotate: swarm.rotate ?? 'off' };
  return redact({ ...(nodes ? { nodes } : {}), ...rest, swarm: rotating, images: off(images), schedules: off(schedules) });
}

const secret = /(password|passwd|secret|token|credential)/i;

/** Returns a copy that hides every value whose name says that it is secret, and the password of every endpoint. */
export function redact(value: unknown, name = ''): unknown {
  if (secret.test(name) && value !== null && value !== undefined && typeof value !== 'object') return '***';
  if (typeof value === 'string') return maskEndpoint(value);
  if (Array.isArray(value)) return value.map((inner) => redact(inner, name));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, redact(inner, key)]));
}
