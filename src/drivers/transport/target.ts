import { maskEndpoint } from '../../model/endpoint.ts';
import { KatafleetError } from '../../model/errors.ts';

/** The host and user of an `ssh://` endpoint. */
export interface SshTarget {
  host: string;
  port?: string;
  user?: string;
}

/** Returns `user@host`, for messages. */
export const atOf = ({ host, user }: SshTarget): string => (user === undefined ? host : `${user}@${host}`);

/** How ssh reaches a node. If a setting is absent, the user's own ssh configuration decides. */
export interface SshSettings {
  /** A file that replaces ~/.ssh/config (`ssh -F`). */
  config?: string | undefined;
  /** A private key; no other is used. */
  identity?: string | undefined;
  knownHosts?: string | undefined;
  /** Hosts to jump through, `[user@]host[:port]`, comma-separated (`ssh -J`). */
  jump?: string | undefined;
  /** The local user who runs ssh with their keys, by `sudo -n -u`. */
  as?: string | undefined;
  /** How often a silent connection is asked whether it lives (ms); after two unanswered questions it is closed. */
  keepaliveMs?: number | undefined;
}

/** Time limit for making a connection (s). */
const connectSeconds = 10;
const defaultKeepaliveMs = 3_000;
/** Number of unanswered questions before a connection is closed. */
const unanswered = 2;

/** Parses an ssh:// endpoint. @throws endpoint.invalid */
export function sshTarget(endpoint: string): SshTarget {
  const url = URL.canParse(endpoint) ? new URL(endpoint) : undefined;
  // The URL has an IPv6 address in brackets, which ssh does not take.
  const host = url?.hostname.replace(/^\[(.*)\]$/, '$1') ?? '';
  if (url?.protocol !== 'ssh:' || !/^[\w.:%-]+$/.test(host) || host.startsWith('-')) {
    throw new KatafleetError(
      'endpoint.invalid',
      `"${maskEndpoint(endpoint)}" is not an ssh endpoint: expected ssh://user@host or ssh://user@host:port`,
    );
  }
  const user = decodeURIComponent(url.username);
  return { host, ...(url.port === '' ? {} : { port: url.port }), ...(user === '' ? {} : { user }) };
}

/** Returns the command for ssh: ssh itself, or sudo that runs it as another user. */
export const sshCommand = ({ as }: SshSettings): string[] => (as === undefined ? ['ssh'] : ['sudo', '-n', '-u', as, '--', 'ssh']);

/** Options of every call of ssh: it asks no questions, forwards nothing, and trusts no unknown host. */
const always = [
  'BatchMode=yes',
  'StrictHostKeyChecking=yes',
  'UpdateHostKeys=no',
  'ForwardAgent=no',
  'ForwardX11=no',
  'ClearAllForwardings=yes',
  'PermitLocalCommand=no',
  'RemoteCommand=none',
  'RequestTTY=no',
  'EscapeChar=none',
  'LogLevel=ERROR',
];

const options = (list: readonly string[]): string[] => list.flatMap((option) => ['-o', option]);

/** Quotes a path for ssh_config: quotes keep blanks, %% is a percent sign. */
const path = (text: string): string => `"${text.replaceAll('%', '%%')}"`;

/** Returns ssh's arguments for a connection that sessions share and that stays in the background. */
export function masterWords(target: SshTarget, settings: SshSettings, control: string): string[] {
  const { config, identity, knownHosts, jump, keepaliveMs = defaultKeepaliveMs } = settings;
  return [
    ...(config === undefined ? [] : ['-F', config]),
    '-f',
    '-N',
    '-M',
    '-S',
    control,
    ...options([
      ...always,
      // If katafleet dies, its connections end by themselves.
      'ControlPersist=120',
      `ConnectTimeout=${connectSeconds}`,
      'ConnectionAttempts=1',
      `ServerAliveInterval=${Math.max(1, Math.round(keepaliveMs / 1_000))}`,
      `ServerAliveCountMax=${unanswered}`,
      'TCPKeepAlive=yes',
      ...(identity === undefined ? [] : [`IdentityFile=${path(identity)}`, 'IdentitiesOnly=yes']),
      ...(knownHosts === undefined ? [] : [`UserKnownHostsFile=${path(knownHosts)}`]),
    ]),
    ...(jump === undefined ? [] : ['-J', jump]),
    ...destination(target),
  ];
}

/** Returns ssh's arguments for one command over an existing connection. Without the connection ssh fails and does not log in. */
export function sessionWords(target: SshTarget, settings: SshSettings, control: string, line: string): string[] {
  const { config } = settings;
  const shared = options([...always, 'ControlMaster=no', 'ProxyCommand=false']);
  return [...(config === undefined ? [] : ['-F', config]), '-T', '-S', control, ...shared, ...destination(target), line];
}

/** Returns ssh's arguments that end a connection and all its sessions. */
export function exitWords(target: SshTarget, settings: SshSettings, control: string): string[] {
  const { config } = settings;
  return [...(config === undefined ? [] : ['-F', config]), '-q', '-S', control, '-O', 'exit', ...destination(target)];
}

function destination({ host, port, user }: SshTarget): string[] {
  return [...(port === undefined ? [] : ['-p', port]), ...(user === undefined ? [] : ['-l', user]), '--', host];
}
