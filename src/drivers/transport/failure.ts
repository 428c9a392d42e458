import { type ErrorCode, KatafleetError } from '../../model/errors.ts';
import { atOf, type SshSettings, type SshTarget } from './target.ts';

/** How ssh reaches a host: for hints with commands that can be typed as they are. */
type SshRoute = SshTarget & SshSettings;

interface SshFailure {
  says: RegExp;
  code: ErrorCode;
  message: (at: string) => string;
  hint?: (route: SshRoute) => string;
}

const asWhom = ({ as }: SshRoute): string => (as === undefined ? '' : `sudo -u ${as} `);
const onPort = ({ port }: SshRoute): string => (port === undefined ? '' : `-p ${port} `);
const knownHostsOf = ({ as, knownHosts }: SshRoute): string => knownHosts ?? `~${as ?? ''}/.ssh/known_hosts`;

/**
 * Returns the command that adds the host's key. ssh-keyscan takes no user, and takes the port as an option; another user's file needs
 * sudo.
 */
function scanning(route: SshRoute): string {
  const scan = `ssh-keyscan ${onPort(route)}${route.host}`;
  return route.as === undefined ? `${scan} >> ${knownHostsOf(route)}` : `${scan} | ${asWhom(route)}tee -a ${knownHostsOf(route)}`;
}

/** Returns the command that removes the host's key. ssh-keygen -R takes the name as it is in the file: with the port, unless that is 22. */
function forgetting(route: SshRoute): string {
  const { host, port, knownHosts } = route;
  const name = port === undefined || port === '22' ? host : `'[${host}]:${port}'`;
  return `${asWhom(route)}ssh-keygen -R ${name}${knownHosts === undefined ? '' : ` -f ${knownHosts}`}`;
}

/** Messages of OpenSSH, which are English in every locale. The most specific ones come first. */
const faults: readonly SshFailure[] = [
  {
    says: /REMOTE HOST IDENTIFICATION HAS CHANGED|Host key for .* has changed/,
    code: 'ssh.host_key',
    message: (at) => `the host key of ${at} differs from the known one: the host was installed again, or another host answers in its place`,
    hint: (route) =>
      `compare it with the host's own (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub there); then ${forgetting(route)}, and add the new one: ${scanning(route)}`,
  },
  {
    says: /Host key verification failed|No .* host key is known|host key .* revoked/i,
    code: 'ssh.host_key',
    message: (at) => `the host key of ${at} is not known here, and katafleet does not connect to unknown hosts`,
    hint: (route) => `${scanning(route)}, after you have compared it with the host's own`,
  },
  {
    says: /sudo: |is not in the sudoers file/,
    code: 'ssh.refused',
    message: (at) => `sudo does not let katafleet run ssh as another user to reach ${at}`,
    hint: () => 'scripts/server-setup writes the line for sudoers',
  },
  {
    says: /Permission denied|Too many authentication failures|No supported authentication methods|agent refused operation/,
    code: 'ssh.refused',
    message: (at) => `${at} refuses the login: it has no such user, or that user's authorized_keys lack katafleet's key`,
    hint: (route) => `${asWhom(route)}ssh-copy-id ${onPort(route)}${atOf(route)}, or scripts/node-setup on the node`,
  },
  {
    says: /Could not resolve hostname|Name or service not known|Temporary failure in name resolution/,
    code: 'engine.unreachable',
    message: (at) => `no host has the name of ${at}`,
    hint: () => 'correct it in the configuration, or add it to the DNS or /etc/hosts',
  },
  {
    says: /Connection refused/,
    code: 'engine.unreachable',
    message: (at) => `${at} is there, but no ssh server listens`,
    hint: () => 'start sshd there, or correct the port',
  },
  {
    says: /timed out|Timeout, server|No route to host|Network is unreachable|Host is down/i,
    code: 'engine.unreachable',
    message: (at) => `${at} does not answer`,
    hint: () => 'check whether it is switched on, and whether a firewall blocks the connection',
  },
  {
    says: /Bad owner or permissions|Bad configuration option|no such identity|Can't open user config file|invalid format|too long for Unix domain socket/i,
    code: 'endpoint.invalid',
    message: (at) => `ssh can't connect to ${at} with these files and options`,
  },
];

/** Converts ssh's own failure to an error. `complaint` is ssh's output on stderr. An unknown complaint counts as a broken connection. */
export function sshError(complaint: string, target: SshTarget, settings: SshSettings = {}): KatafleetError {
  const at = atOf(target);
  const said = complaint
    .split('\n')
    .map((line) => line.replace(/\r$/, '').trim())
    .filter((line) => line !== '' && !/^@+$/.test(line))
    .join('; ')
    .slice(0, 600);
  const quoted = said === '' ? '' : ` (ssh: ${said})`;
  const fault = faults.find(({ says }) => says.test(complaint));
  if (!fault) return new KatafleetError('engine.unreachable', `the connection to ${at} broke${quoted}`);
  const hint = fault.hint?.({ ...settings, ...target });
  return new KatafleetError(fault.code, `${fault.message(at)}${quoted}`, { hint });
}
