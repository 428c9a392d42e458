import { Command, InvalidArgumentError, Option } from 'commander';
import { defaults } from '../../model/defaults.ts';
import { parseListen } from '../../model/endpoint.ts';
import { KatafleetError } from '../../model/errors.ts';
import { parseDuration } from '../../model/quantity.ts';
import { deploy } from '../../deploy/deploy.ts';
import type { StackKind } from '../../deploy/stack.ts';
import { undeploy } from '../../deploy/undeploy.ts';
import { EngineDriver } from '../../drivers/engine/driver.ts';
import { endpointFromEnvironment } from '../../drivers/engine/endpoint.ts';
import { colours, escapeControls } from '../show/terminal.ts';
import type { At, Where } from '../where.ts';

const { ports } = defaults;

const nameOption = () =>
  new Option('--name <stack>', 'name of the deployment, and prefix of all its objects').default(defaults.swarm.stack).argParser(stackName);
const timeoutOption = (what: string) => new Option('--timeout <time>', what).default(120_000, '2m').argParser(parseDuration);

interface DeployFlags {
  stack?: StackKind;
  name: string;
  image: string;
  listen: { host: string | undefined; port: number };
  dialPort: number;
  publish: 'host' | 'ingress';
  socket?: string;
  socketGroup?: number;
  timeout: number;
}

export function deployCommand(at: At): Command {
  return new Command('deploy')
    .description(
      'Deploys katafleet as a service with the configuration that --config names, or updates the deployed one. Waits until it is healthy and prints its address.',
    )
    .addOption(
      new Option('--stack <kind>', 'swarm or compose (default: swarm if the engine is in one, else compose)').choices([
        'compose',
        'swarm',
      ] satisfies StackKind[]),
    )
    .addOption(nameOption())
    .option('--image <image>', "katafleet's own image", 'katafleet/katafleet:latest')
    .addOption(
      new Option('-l, --listen <[host:]port>', 'address of the API; in a swarm only a port, published at all addresses of the node')
        .default({ host: undefined, port: ports.api }, `127.0.0.1:${ports.api} by Compose, ${ports.api} in a swarm`)
        .argParser(listenAddress),
    )
    .addOption(new Option('--dial-port <port>', 'port that the tasks of a swarm dial').default(ports.dial).argParser(portNumber))
    .addOption(
      new Option('--publish <mode>', 'host: ports of the node that it runs on; ingress: ports of every node, by the mesh')
        .choices(['host', 'ingress'])
        .default('host'),
    )
    .option('--socket <path>', "the engine's socket on its own host (default: the one of a unix:// endpoint, else /var/run/docker.sock)")
    .addOption(
      new Option('--socket-group <gid>', "number of the socket's group (default: a container finds it out)").argParser(groupNumber),
    )
    .addOption(timeoutOption('how long it may take to become healthy'))
    .action(async (flags: DeployFlags) => {
      const where = at();
      const { driver, endpoint } = engineOf(where);
      try {
        const address = await deploy({
          driver,
          endpoint,
          kind: flags.stack,
          name: flags.name,
          image: flags.image,
          listen: flags.listen,
          dialPort: flags.dialPort,
          publish: flags.publish,
          socket: flags.socket,
          socketGroup: flags.socketGroup,
          timeoutMs: flags.timeout,
          config: { env: process.env, cwd: process.cwd(), file: where.config },
          say,
        });
        process.stdout.write(`${address}\n`);
      } finally {
        driver.close();
      }
    });
}

export function undeployCommand(at: At): Command {
  return new Command('undeploy')
    .description(
      'Stops a deployed katafleet, after the runs under way have ended, and removes its services, secrets, configs and networks. Its state stays unless --volumes is given.',
    )
    .addOption(nameOption())
    .option('--volumes', 'remove its state too: the journal and the katas')
    .option('--dry-run', 'only print what would be removed')
    .addOption(timeoutOption('how long it may take until all have gone'))
    .action(async ({ name, volumes, dryRun, timeout }: { name: string; volumes?: boolean; dryRun?: boolean; timeout: number }) => {
      const { driver } = engineOf(at());
      try {
        const parts = await undeploy({ driver, name, volumes: volumes ?? false, dryRun: dryRun ?? false, timeoutMs: timeout, say });
        if (parts.length === 0) process.stdout.write(`nothing of ${name} is there\n`);
        else if (dryRun) for (const part of parts) process.stdout.write(`would remove the ${part.kind} ${escapeControls(part.name)}\n`);
        else process.stdout.write(`${name} has gone: ${parts.length} things removed\n`);
      } finally {
        driver.close();
      }
    });
}

/**
 * Returns the engine of --host, else that of Docker's own variables. The configuration is for the deployed server, so its nodes are not
 * used.
 */
function engineOf({ endpoint }: Where): { driver: EngineDriver; endpoint: string } {
  const { endpoint: usual, certPath } = endpointFromEnvironment(process.env);
  if (endpoint !== undefined) return { driver: new EngineDriver({ endpoint }), endpoint };
  return { driver: new EngineDriver({ endpoint: usual, tls: certPath }), endpoint: usual };
}

const say = (line: string) => process.stderr.write(`${colours(process.stderr).dim(escapeControls(line))}\n`);

function stackName(text: string): string {
  if (/^[a-z0-9][a-z0-9_-]{0,31}$/.test(text)) return text;
  throw new InvalidArgumentError('Expected 1 to 32 lower-case letters, digits, - or _, beginning with a letter or digit.');
}

function portNumber(text: string): number {
  const port = Number(text);
  if (/^\d+$/.test(text) && port >= 1 && port <= 65_535) return port;
  throw new InvalidArgumentError('Expected a port from 1 to 65535.');
}

function groupNumber(text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('Expected the number of a group, as stat -c %g prints it.');
}

function listenAddress(text: string): { host: string | undefined; port: number } {
  if (/^\d+$/.test(text)) return { host: undefined, port: portNumber(text) };
  const address = parseListen(text);
  if (address && address.port > 0) return { ...address, host: address.host.includes(':') ? `[${address.host}]` : address.host };
  throw new KatafleetError('request.invalid', `--listen: expected HOST:PORT or PORT, got ${JSON.stringify(text)}`);
}
