import { type ErrorCode, KatafleetError } from '../../model/errors.ts';
import type { CommandResult } from '../transport/transport.ts';

/** Exit code of a shell that found no such command. */
const notFound = 127;

/** Last line of 1.6, after a line with the reason for each name. */
const summary = /^Error: failed to \w+ one or more \w+/;

/**
 * Returns docker's error message in one line. 1.6 wraps it in `time="…" level=fatal msg="…"`; later releases put `docker: ` before
 * it. If the command named several things, the result has the reason for each, without the line that sums them up.
 */
export function saidBy({ stderr, stdout }: Pick<CommandResult, 'stderr' | 'stdout'>): string {
  const lines = `${stderr}\n${stdout}`
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && line !== '[]' && !/^See 'docker/.test(line));
  const fatal = lines
    .map((line) => /level=fatal msg="((?:[^"\\]|\\.)*)"/.exec(line)?.[1]?.replace(/\\(.)/g, '$1'))
    .find((text) => text !== undefined);
  const reasons = lines.filter((line) => !/level=fatal msg="/.test(line) && !summary.test(line));
  if (fatal !== undefined && (!summary.test(fatal) || reasons.length === 0)) return fatal.slice(0, 600);
  return (reasons.length > 0 ? reasons : lines)
    .join('; ')
    .replace(/^docker: /, '')
    .slice(0, 600);
}

interface DockerFault {
  says: RegExp;
  code: ErrorCode;
  message: (at: string, said: string) => string;
  hint?: string;
}

const faults: readonly DockerFault[] = [
  {
    says: /katafleet-gate: refused/,
    code: 'gate.refused',
    message: (at, said) => `the gate of ${at} refused the command: ${said.replace(/^.*katafleet-gate: refused: /, '')}`,
    hint: '/etc/katafleet/gate.conf on the node says what the gate admits; its log has each refused command',
  },
  {
    says: /permission denied.*docker\.sock|docker\.sock.*permission denied|dial unix .*permission denied/i,
    code: 'engine.permission',
    message: (at) => `${at} may not use docker: the user is not in the group docker there`,
    hint: 'on the node: usermod -aG docker USER, or scripts/node-setup; it takes effect at the next login',
  },
  {
    says: /Cannot connect to the Docker daemon|Is 'docker -d' running|Is the docker daemon running|engine is shutdown|error during connect|no such file or directory.*docker\.sock|docker\.sock: (connect|dial|no such)/i,
    code: 'engine.unreachable',
    message: (at) => `${at} answers over ssh, but no docker daemon runs there`,
    hint: 'start it on the node: service docker start, or systemctl start docker',
  },
  {
    // A daemon that stops says this for up to three seconds, and so does a client whose call was under way.
    says: /engine is shutdown|(EOF|connection reset by peer|broken pipe)\. Are you trying to connect to a TLS-enabled daemon/,
    code: 'engine.unreachable',
    message: (at) => `${at} answers over ssh, but its docker daemon is shutting down`,
    hint: 'start it on the node: service docker start, or systemctl start docker',
  },
  {
    says: /no space left on device/i,
    code: 'engine.disk_full',
    message: (at, said) => `the disk of ${at} is full (${said})`,
    hint: 'free space there: remove old containers (docker rm) and images (docker rmi)',
  },
  { says: /^Conflict|Conflict[,.] The/, code: 'engine.conflict', message: (at, said) => `${at}: ${said}` },
  {
    says: /No such image|Unable to find image|pull access denied|no such id/i,
    code: 'image.unknown',
    message: (at, said) => `${at} does not have the image (${said})`,
    hint: 'katafleet images distribute brings it there',
  },
];

/** Turns the answer of a docker command that failed into a coded error. `doing` completes "can't …". */
export function dockerError(answer: Pick<CommandResult, 'code' | 'stdout' | 'stderr'>, at: string, doing: string): KatafleetError {
  const said = saidBy(answer);
  const fault = faults.find(({ says }) => says.test(`${answer.stderr}\n${said}`));
  if (!fault && answer.code === notFound) {
    return new KatafleetError('docker.missing', `docker is not installed on ${at}, or not on the PATH of a command over ssh (${said})`, {
      hint: 'install docker there, or put it on the PATH: sshd gives commands /usr/local/bin:/usr/bin:/bin',
    });
  }
  if (!fault) return new KatafleetError('engine.failed', `${at} can't ${doing}: ${said === '' ? `exit code ${answer.code}` : said}`);
  return new KatafleetError(fault.code, fault.message(at, said), fault.hint === undefined ? {} : { hint: fault.hint });
}
