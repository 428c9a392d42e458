import { setTimeout as sleep } from 'node:timers/promises';
import type Dockerode from 'dockerode';
import { socketPath } from '../model/endpoint.ts';
import { KatafleetError, messageOf } from '../model/errors.ts';
import { parseHostName } from '../model/host-name.ts';
import { canonicalImage } from '../model/image-name.ts';
import { engineError } from '../drivers/docker/errors.ts';
import { inspectImage } from '../drivers/docker/inspect.ts';
import type { EngineDriver } from '../drivers/engine/driver.ts';
import { deployCompose } from './compose.ts';
import { deployedConfig } from './config.ts';
import { usualCpus } from './cpus.ts';
import type { Variables } from './interpolate.ts';
import { requireManager, type SwarmView } from './manager.ts';
import { socketGroup } from './socket.ts';
import { readStack, type StackKind } from './stack.ts';
import { deploySwarm } from './swarm.ts';
import { isDeployed, undeploy } from './undeploy.ts';

export interface DeployOptions {
  driver: EngineDriver;
  /** The endpoint as the user gave it, with its password. */
  endpoint: string;
  /** If absent, the engine decides: a member of a swarm gets a service of the swarm. */
  kind?: StackKind | undefined;
  name: string;
  image: string;
  /** Where the API is published. In a swarm, each node publishes it at all its addresses. */
  listen: { host: string | undefined; port: number };
  /** The port where a swarm's tasks dial in. */
  dialPort: number;
  publish: 'host' | 'ingress';
  /** The engine's socket on its own host. If absent: the path of a unix:// endpoint, else /var/run/docker.sock. */
  socket?: string | undefined;
  /** The group of that socket. If absent, a container looks it up. */
  socketGroup?: number | undefined;
  timeoutMs: number;
  /** Where to look for the configuration. */
  config: { file?: string | undefined; env: NodeJS.ProcessEnv; cwd: string };
  say: (line: string) => void;
}

/** Time that a drained server needs beyond its grace to remove its sandboxes and close its journal (ms). */
const closingMs = 40_000;
/** Time limit for removing what a failed first deployment created (ms). */
const takingBackMs = 60_000;
/** How long to wait for the server's nodes to answer before that is reported (ms). */
const nodesMs = 10_000;

/**
 * Deploys katafleet as a service, or updates it, and waits until it is healthy. Resolves with the address of its API.
 * @throws deploy.failed, swarm.unavailable, compose.missing, image.unknown, config.*, engine.*
 */
export async function deploy(options: DeployOptions): Promise<string> {
  const { driver, say } = options;
  try {
    const docker = await driver.client();
    const kind = options.kind ?? (await usualKind(docker));
    if (kind === 'swarm') await requireManager(docker, (await driver.probe()).apiVersion, driver.endpoint);
    if (kind === 'swarm') requireAllAddresses(options);
    else requireThisMachine(options);
    const config = deployedConfig(options.config, kind === 'swarm' ? { stack: options.name, dialPort: options.dialPort } : undefined);
    const image = await pinnedImage(docker, options.image, driver.endpoint);
    const socket = options.socket ?? socketPath(options.endpoint) ?? '/var/run/docker.sock';
    const group = options.socketGroup ?? (await socketGroup(docker, image, socket));
    say(`${kind} at ${driver.endpoint}: ${options.name}, ${options.image}, ${config.file}`);
    const variables: Variables = {
      ...options.config.env,
      KATAFLEET_STACK: options.name,
      KATAFLEET_IMAGE: options.image,
      KATAFLEET_SOCKET: socket,
      KATAFLEET_SOCKET_GROUP: String(group),
      KATAFLEET_CONFIG_FILE: config.file,
      KATAFLEET_CONFIG_VERSION: config.version,
      KATAFLEET_STOP_GRACE: `${Math.max(60, Math.ceil((config.graceMs + closingMs) / 1000))}s`,
      KATAFLEET_NAMES: [options.config.env['KATAFLEET_NAMES'] ?? '', endpointName(options.endpoint)].join(' ').trim(),
      KATAFLEET_LISTEN: `${options.listen.host ?? '127.0.0.1'}:${options.listen.port}`,
      KATAFLEET_PORT: String(options.listen.port),
      KATAFLEET_DIAL_PORT: String(options.dialPort),
      KATAFLEET_PUBLISH_MODE: options.publish,
      KATAFLEET_ENDPOINT_MODE: options.publish === 'ingress' ? 'vip' : 'dnsrr',
      KATAFLEET_CPUS: options.config.env['KATAFLEET_CPUS'] || (await usualCpus(docker, kind, options.config.env['KATAFLEET_CONSTRAINT'])),
    };
    const { name, timeoutMs, listen } = options;
    const stack = kind === 'swarm' ? readStack(variables) : undefined;
    const address = await allOrNothing(options, await isDeployed(docker, name, kind === 'swarm'), async () => {
      if (stack) {
        const node = await deploySwarm({ docker, name, stack, image, configs: { config: config.text }, timeoutMs, say });
        return reachable(node.address, options.endpoint);
      }
      await deployCompose({ docker, endpoint: options.endpoint, name, variables, timeoutMs, say });
      return listen.host === undefined || listen.host === '0.0.0.0' ? '127.0.0.1' : listen.host;
    });
    return await waitUntilReachable(`http://${address}:${listen.port}`, say);
  } catch (error) {
    throw engineError(error, driver.endpoint, 'deploy');
  }
}

async function usualKind(docker: Dockerode): Promise<StackKind> {
  const { Swarm } = (await docker.info()) as { Swarm?: SwarmView };
  return (Swarm?.LocalNodeState ?? 'inactive') === 'inactive' ? 'compose' : 'swarm';
}

const invalid = (message: string, hint: string) => new KatafleetError('request.invalid', message, { hint });

function requireAllAddresses({ listen: { host } }: DeployOptions): void {
  if (host !== undefined && host !== '0.0.0.0' && host !== '[::]')
    throw invalid(
      `a swarm publishes a port at all addresses of a node; it can't publish it at ${host} only`,
      'give --listen a port without a host, and restrict access by a firewall',
    );
}

function requireThisMachine({ endpoint, publish }: DeployOptions): void {
  if (!endpoint.startsWith('unix:'))
    throw invalid(
      'Compose mounts the configuration from a file of this machine, and the engine is on another machine',
      'run katafleet deploy on that machine',
    );
  if (publish === 'ingress') throw invalid('--publish ingress needs a swarm', 'use --stack swarm');
}

/**
 * Returns the name by which tasks use an image, so that no registry is asked for an image that is already there: the digest of a
 * registry, if the image has one, for managers that lack the image; else its id.
 * @throws image.unknown
 */
async function pinnedImage(docker: Dockerode, name: string, endpoint: string): Promise<string> {
  const image = await inspectImage(docker, name);
  if (!image) {
    const recipe = /^katafleet\/([a-z-]+)(:latest)?$/.exec(canonicalImage(name))?.[1];
    throw new KatafleetError('image.unknown', `the engine at ${endpoint} has no image ${name}`, {
      hint: recipe === 'katafleet' ? 'katafleet images build katafleet' : `docker pull ${name}`,
    });
  }
  return image.RepoDigests?.[0] ?? image.Id;
}

/**
 * Removes what a failed first deployment created, except its state: it would restart for ever and occupy the ports. If something was
 * deployed before, nothing is removed: the update leaves it as it is.
 */
async function allOrNothing<T>({ driver, name, say }: DeployOptions, wasThere: boolean, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const byHand = `remove it by katafleet undeploy --name ${name}`;
    if (wasThere) {
      say(`${name} was deployed before and stays: correct it and deploy again, or ${byHand}`);
      throw error;
    }
    say(`the deployment of ${name} failed: removing what was created`);
    try {
      await undeploy({ driver, name, volumes: false, dryRun: false, timeoutMs: takingBackMs, say });
    } catch (cause) {
      say(`not everything was removed: ${messageOf(cause)}; ${byHand}`); // the error of the deployment is thrown
    }
    throw error;
  }
}

/** Returns the host name or address of an engine's endpoint, where the API will be reached too; empty for an endpoint without one. */
function endpointName(endpoint: string): string {
  return parseHostName(new URL(endpoint).hostname) ?? '';
}

/**
 * Returns the address at which the user reaches a node: the node's own, if it can be used elsewhere (a swarm of one machine may report
 * another), else the host of the manager's endpoint.
 */
function reachable(address: string, endpoint: string): string {
  if (address !== '' && address !== '0.0.0.0' && !address.startsWith('127.')) return address.includes(':') ? `[${address}]` : address;
  return endpoint.startsWith('unix:') ? '127.0.0.1' : new URL(endpoint).hostname;
}

/** Reports whether the API is reached from here and has a ready node. The container's health check does not cover either. */
async function waitUntilReachable(address: string, say: (line: string) => void): Promise<string> {
  const until = performance.now() + nodesMs;
  for (;;) {
    let ready: { nodes?: { ready: number; all: number }; error?: { message: string } };
    try {
      ready = (await (await fetch(`${address}/health/ready`, { signal: AbortSignal.timeout(2_000) })).json()) as typeof ready;
    } catch (error) {
      say(`${address} is not reached from here (${messageOf(error instanceof Error && error.cause ? error.cause : error)})`);
      return address;
    }
    const { nodes, error } = ready;
    if (error) {
      say(`${address} does not say whether its nodes are ready: ${error.message}`);
      return address;
    }
    if (nodes && nodes.ready > 0) {
      say(`${nodes.ready} of ${nodes.all} nodes are ready`);
      return address;
    }
    if (performance.now() > until) {
      say(`the API answers, but no node is ready: katafleet --server ${address} nodes shows why`);
      return address;
    }
    await sleep(200);
  }
}
