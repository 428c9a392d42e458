import { maskEndpoint } from '../../model/endpoint.ts';
import { KatafleetError } from '../../model/errors.ts';

/** Where an `ssh://` endpoint leads. */
export interface SshTarget {
  host: string;
  port?: string;
  user?: string;
}

/** `user@host` as people write it, for messages. */
export const atOf = ({ host, user }: SshTarget): string => (user === undefined ? host : `${user}@${host}`);

/** How katafleet's ssh is to reach a node; what is absent is left to the person's own ssh configuration. */
export interface SshSettings {
  /** A file to read in place of ~/.ssh/config (`ssh -F`). */
  config?: string | undefined;
  /** A private key, and no other. */
  identity?: string | undefined;
  knownHosts?: string | undefined;
  /** Hosts to go through, `[user@]host[:port]`, comma-separated (`ssh -J`). */
  jump?: string | undefined;
  /** The local user whose keys are used, by `sudo -n -u`. */
  as?: string | undefined;
  /** How often a silent connection is asked whether it lives, ms; after two questions without an answer it is given up. */
  keepaliveMs?: number | undefined;
}

/** A connection that takes so long to be made is none, s. */
const connectSeconds = 10;
const defaultKeepaliveMs = 3_000;
/** Questions without an answer before a connection is given up. */
const unanswered = 2;

/** @throws endpoint.invalid */
export function sshTarget(endpoint: string): SshTarget {
  const url = URL.canParse(endpoint) ? new URL(endpoint) : undefined;
  // An IPv6 address comes in brackets, which ssh doesn't take.
  const host = url?.hostname.replace(/^\[(.*)\]$/, '$1') ?? '';
  if (url?.protocol !== 'ssh:' || !/^[\w.:%-]+$/.test(host) || host.startsWith('-')) {
    throw new KatafleetError(
      'endpoint.invalid',
      `"${maskEndpoint(endpoint)}" is no ssh endpoint: expected ssh://user@host or ssh://user@host:port`,
    );
  }
  const user = decodeURIComponent(url.username);
  return { host, ...(url.port === '' ? {} : { port: url.port }), ...(user === '' ? {} : { user }) };
}

/** The command that is ssh: itself, or itself as another user. */
export const sshCommand = ({ as }: SshSettings): string[] => (as === undefined ? ['ssh'] : ['sudo', '-n', '-u', as, '--', 'ssh']);

/** What holds for every call of ssh: nobody is there to be asked, nothing of ours is forwarded, no stranger is trusted. */
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

/** Paths are read as in ssh_config: quotes keep blanks, %% is a percent sign. */
const path = (text: string): string => `"${text.replaceAll('%', '%%')}"`;

/** The words after ssh that open a connection for others to share, and leave it in the background. */
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
      // Should katafleet die, its connections end by themselves.
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

/** The words after ssh that run one command over a connection that is there: without it they fail, and log in nowhere. */
export function sessionWords(target: SshTarget, settings: SshSettings, control: string, line: string): string[] {
  const { config } = settings;
  const shared = options([...always, 'ControlMaster=no', 'ProxyCommand=false']);
  return [...(config === undefined ? [] : ['-F', config]), '-T', '-S', control, ...shared, ...destination(target), line];
}

/** The words after ssh that end a connection and all that runs over it. */
export function exitWords(target: SshTarget, settings: SshSettings, control: string): string[] {
  const { config } = settings;
  return [...(config === undefined ? [] : ['-F', config]), '-q', '-S', control, '-O', 'exit', ...destination(target)];
}

function destination({ host, port, user }: SshTarget): string[] {
  return [...(port === undefined ? [] : ['-p', port]), ...(user === undefined ? [] : ['-l', user]), '--', host];
}
