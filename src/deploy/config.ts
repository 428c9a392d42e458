import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { parseDocument } from 'yaml';
import { type ConfigPlace, readConfig } from '../config/load.ts';
import { parseConfig } from '../config/parse.ts';
import { requireContainerPaths } from './paths.ts';
import { stackFile } from './stack.ts';

/** The configuration that goes into the container. */
export interface DeployedConfig {
  file: string;
  text: string;
  /** A hash of the text: what it says can't be changed under one name. */
  version: string;
  /** What runs at SIGTERM gets so long, ms. */
  graceMs: number;
}

/** Where katafleet listens for tasks in its container. */
const usualDialPort = 7421;
/** Where a stack has its secret. */
const keyFile = '/run/secrets/katafleet_key';

/**
 * The configuration as every command finds it, else the one that comes with the stacks; checked, as the container will read it: the
 * files that it names are the container's. In a
 * swarm it is told the stack's name, network, key and, where it is an unusual one, port for tasks, unless it names its own.
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
