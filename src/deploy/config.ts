import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { parseDocument } from 'yaml';
import { type ConfigPlace, readConfig } from '../config/load.ts';
import { parseConfig } from '../config/parse.ts';
import { defaults } from '../model/defaults.ts';
import { requireContainerPaths } from './paths.ts';
import { stackFile } from './stack.ts';

/** The configuration that is put into the container. */
export interface DeployedConfig {
  file: string;
  text: string;
  /** A hash of the text: a config cannot be changed under the same name. */
  version: string;
  /** Time that runs get to end after SIGTERM (ms). */
  graceMs: number;
}

/** The port in the container where katafleet listens for tasks. */
const usualDialPort = defaults.ports.dial;
/** The path of the stack's secret in the container. */
const keyFile = '/run/secrets/katafleet_key';

/**
 * Returns the configuration that every command would find, else the one that comes with the stacks. It is checked as the container will
 * read it: the files that it names are files in the container. For a swarm, the stack's name is set, and the network, the key and an
 * unusual port for tasks are added unless the configuration names its own.
 * @throws config.missing, config.invalid
 */
export function deployedConfig(of: ConfigPlace, swarm?: { stack: string; dialPort?: number }): DeployedConfig {
  const usual = stackFile(swarm ? 'katafleet.swarm.yaml' : 'katafleet.compose.yaml');
  const { source: file, shown, text: given } = readConfig(of) ?? { source: usual, shown: usual, text: readFileSync(usual, 'utf8') };
  const checked = parseConfig(given, shown);
  requireContainerPaths(checked.value, swarm ? 'swarm' : 'compose', checked.fault);
  let text = given;
  if (swarm) {
    const document = parseDocument(text);
    const published = swarm.dialPort === undefined || swarm.dialPort === usualDialPort ? {} : { published: swarm.dialPort };
    const own = { stack: swarm.stack, network: `${swarm.stack}_tasks`, key: keyFile, ...published };
    for (const [field, value] of Object.entries(own)) {
      if (document.getIn(['swarm', field]) === undefined || field === 'stack') document.setIn(['swarm', field], value);
    }
    text = String(document);
  }
  const { value } = parseConfig(text, file);
  const version = createHash('sha256').update(text).digest('hex').slice(0, 12);
  return { file, text, version, graceMs: value.server.grace };
}
