import { spawnSync } from 'node:child_process';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import * as dockerCompose from 'docker-compose';
import type Dockerode from 'dockerode';
import { KatafleetError, messageOf } from '../model/errors.ts';
import { inSeconds } from '../model/quantity.ts';
import type { Variables } from './interpolate.ts';
import { logLines } from './log-lines.ts';
import { stackFile } from './stack.ts';
import { cpusHint, tooManyCpus } from './task-words.ts';

/** How often the engine is asked for a container's state (ms). */
const everyMs = 250;
/** The wait fails when a container has restarted this often: it will not recover by itself. */
const mostRestarts = 3;

export interface ComposeDeployment {
  docker: Dockerode;
  /** The engine's endpoint: a unix:// socket of this machine, because the container mounts the configuration's files. */
  endpoint: string;
  /** The project's name. */
  name: string;
  variables: Variables;
  timeoutMs: number;
  say: (line: string) => void;
}

type Executable = NonNullable<dockerCompose.IDockerComposeOptions['executable']>;

/**
 * Finds the command of this machine's Compose: the plugin of the docker command, else Debian's separate program.
 * @throws compose.missing
 */
export function findCompose(works = answers): Executable | undefined {
  if (works('docker', ['compose', 'version'])) return undefined;
  if (works('docker-compose', ['version'])) return { standalone: true };
  throw new KatafleetError('compose.missing', 'this machine has neither "docker compose" nor "docker-compose"', {
    hint: 'apt-get install docker-compose (Debian, Ubuntu), or docker-compose-plugin where Docker comes from docker.com',
  });
}

function answers(command: string, words: readonly string[]): boolean {
  const { status, error } = spawnSync(command, words, { stdio: 'ignore' });
  return error === undefined && status === 0;
}

/** Starts the project and waits until its container is healthy. @throws compose.missing, deploy.failed */
export async function deployCompose(deployment: ComposeDeployment): Promise<void> {
  const { docker, endpoint, name, variables, timeoutMs, say } = deployment;
  const executable = findCompose();
  const file = stackFile('compose.yaml');
  try {
    await dockerCompose.upAll({
      cwd: dirname(file),
      config: file,
      ...(executable ? { executable } : {}),
      composeOptions: ['--project-name', name],
      commandOptions: ['--remove-orphans'],
      env: { ...(variables as NodeJS.ProcessEnv), DOCKER_HOST: endpoint },
      callback: (chunk) =>
        chunk
          .toString()
          .split(/[\r\n]+/)
          .filter((line) => line.trim() !== '')
          .forEach((line) => say(line.trim())),
    });
  } catch (cause) {
    // It rejects with the program's result, which is not an Error.
    const { err = '' } = cause as { err?: string };
    const why = err.trim().split('\n').slice(-3).join('\n') || messageOf(cause);
    const taken = /address already in use|port is already allocated/i.test(err);
    throw new KatafleetError('deploy.failed', `Compose could not start ${name}: ${why}`, {
      cause,
      ...(taken ? { hint: 'choose another port with --listen, or stop the program that uses it' } : {}),
      ...(tooManyCpus.test(err) ? { hint: cpusHint } : {}),
    });
  }
  await untilContainerHealthy(docker, name, timeoutMs, say);
}

async function untilContainerHealthy(docker: Dockerode, name: string, timeoutMs: number, say: (line: string) => void): Promise<void> {
  const until = performance.now() + timeoutMs;
  let said = '';
  for (;;) {
    const [found] = await docker.listContainers({ all: true, filters: { label: [`com.docker.compose.project=${name}`] } });
    if (!found) throw new KatafleetError('deploy.failed', `Compose succeeded, but there is no container of ${name}`);
    const container = docker.getContainer(found.Id);
    const { State, RestartCount, Name } = await container.inspect();
    const { words, verdict } = containerWords(State, RestartCount);
    const line = `container ${Name.slice(1)}: ${words}`;
    if (line !== said) say(line);
    said = line;
    if (verdict === 'healthy') return;
    const late = performance.now() > until;
    if (verdict === 'failed' || late) {
      const log = await container.logs({ stdout: true, stderr: true, tail: 6 });
      const last = logLines(log).slice(-6).join('\n  ');
      const time = late ? ` after ${inSeconds(timeoutMs)}` : '';
      throw new KatafleetError(
        'deploy.failed',
        `${Name.slice(1)} is not healthy${time}: it ${words}${last ? `; its last output:\n  ${last}` : ''}`,
      );
    }
    await sleep(everyMs);
  }
}

interface StateView {
  Status: string;
  ExitCode: number;
  Error: string;
  Health?: { Status: string; Log?: readonly { Output: string }[] | null } | undefined;
}

/** Describes a container's state, and says whether the wait goes on. */
export function containerWords(state: StateView, restarts: number): { words: string; verdict: 'healthy' | 'waiting' | 'failed' } {
  const { Status, ExitCode, Error: error, Health } = state;
  const again = restarts >= mostRestarts ? 'failed' : 'waiting';
  if (Status === 'running' && Health?.Status === 'healthy') return { words: 'is healthy', verdict: 'healthy' };
  if (Status === 'running' && Health?.Status === 'unhealthy') {
    const output = Health.Log?.at(-1)?.Output.trim() ?? '';
    return { words: `is unhealthy${output ? `: ${output}` : ''}`, verdict: 'failed' };
  }
  if (Status === 'running') {
    const started = restarts > 0 ? `has started again (${restarts} times so far)` : 'has started';
    return { words: `${started}, and is not healthy yet`, verdict: again };
  }
  if (Status === 'restarting') return { words: `ended with ${ExitCode}, and is started again (${restarts} times so far)`, verdict: again };
  if (Status === 'created')
    return { words: error ? `could not start: ${error}` : 'is about to start', verdict: error ? 'failed' : 'waiting' };
  return { words: `ended with ${ExitCode}${error ? `: ${error}` : ''}`, verdict: 'failed' };
}
