import { randomBytes } from 'node:crypto';

/** Who may use a module: made for one transfer of one run, and worthless after it. */
export interface Credentials {
  module: string;
  user: string;
  secret: string;
}

/** A module of rsyncd.conf. */
export interface DaemonModule {
  kind: 'pull' | 'drop';
  credentials: Credentials;
  /** The folder that is the daemon's root while it serves this module. */
  path: string;
  /** As whom the daemon reads or writes there. */
  uid: number;
  gid: number;
}

/** What all modules have in common. */
export interface ModuleSettings {
  /** Networks whose hosts may connect, as rsyncd.conf's `hosts allow` has them. */
  hostsAllow: readonly string[];
  /** Where secrets and lock files lie. */
  folder: string;
  logFile: string;
  /** A client that is silent for so long is left, s. */
  timeout: number;
}

/** Options that a client may use, all others are refused: what katafleet's own commands below send to the daemon. */
const allowed = {
  pull: ['recursive', 'times', 'perms', 'whole-file', 'timeout'],
  drop: ['relative', 'no-implied-dirs', 'whole-file', 'timeout'],
} as const;

/** A name of 128 random bits, a user, and a secret of 256. */
export function newCredentials(random: (bytes: number) => Buffer = randomBytes): Credentials {
  return {
    module: `kf-${random(16).toString('hex')}`,
    user: random(8).toString('hex'),
    secret: random(32).toString('base64url'),
  };
}

/** Where a module's secret lies. */
export const secretsFile = ({ folder }: ModuleSettings, { module }: Credentials): string => `${folder}/${module}.secrets`;
export const secretsText = ({ user, secret }: Credentials): string => `${user}:${secret}\n`;
export const lockFile = ({ folder }: ModuleSettings, { module }: Credentials): string => `${folder}/${module}.lock`;

/** Whether rsyncd.conf can say this path as it is: it expands `%NAME%`, trims blanks, and joins lines at a backslash. */
export function canBePath(path: string): boolean {
  return path.startsWith('/') && path.isWellFormed() && !/[\x00-\x1f\x7f%]|^\s|\s$|\\$|\/\.\//.test(path);
}

/** The module's part of rsyncd.conf. */
export function moduleText(module: DaemonModule, settings: ModuleSettings): string {
  const { kind, credentials, path, uid, gid } = module;
  const lines = [
    `path = ${path}`,
    'use chroot = yes',
    'numeric ids = yes',
    'list = no',
    ...(kind === 'pull' ? ['read only = yes', 'exclude = .git'] : ['read only = no', 'write only = yes', 'incoming chmod = D0700,F0600']),
    `uid = ${uid}`,
    `gid = ${gid}`,
    `auth users = ${credentials.user}`,
    `secrets file = ${secretsFile(settings, credentials)}`,
    'strict modes = yes',
    `hosts allow = ${settings.hostsAllow.join(' ')}`,
    'hosts deny = *',
    'reverse lookup = no',
    'forward lookup = no',
    'max connections = 2',
    `lock file = ${lockFile(settings, credentials)}`,
    `refuse options = * ${allowed[kind].map((option) => `!${option}`).join(' ')}`,
    'max verbosity = 0',
    `timeout = ${settings.timeout}`,
    'transfer logging = yes',
    'log format = %o %h [%a] %m (%u) %f %l',
    `log file = ${settings.logFile}`,
  ];
  return `[${credentials.module}]\n${lines.map((line) => `  ${line}\n`).join('')}`;
}

/** The whole rsyncd.conf of a daemon of katafleet's own. */
export function daemonText(modules: readonly string[], { folder, logFile, pidFile }: { folder: string; logFile: string; pidFile: string }) {
  const head = [
    '# Written by katafleet, anew with each module that comes or goes.',
    `pid file = ${pidFile}`,
    `log file = ${logFile}`,
    `lock file = ${folder}/rsyncd.lock`,
    // Its small frames wait for the other side's delayed acknowledgements without: 40 ms each time.
    'socket options = TCP_NODELAY',
    'list = no',
    'use chroot = yes',
    'hosts deny = *',
    'reverse lookup = no',
  ];
  return `${head.join('\n')}\n${modules.join('')}`;
}

/** A command of katafleet's own in a sandbox. */
export interface RsyncCommand {
  argv: string[];
  env: Record<string, string>;
  stdin?: Buffer<ArrayBuffer>;
}

/** How a sandbox reaches the daemon. */
export interface Advertised {
  host: string;
  port: number;
  timeout: number;
}

const options = ({ timeout }: Advertised) => [
  '/usr/bin/rsync',
  // Time stamps have nanoseconds from this version on; a client that is older says so and ends.
  '--protocol=31',
  '--sockopts=TCP_NODELAY',
  '--whole-file',
  '--no-links',
  '--no-devices',
  '--no-specials',
  `--timeout=${timeout}`,
  `--contimeout=${timeout}`,
];

function url({ host, port }: Advertised, { module, user }: Credentials): string {
  return `rsync://${user}@${host.includes(':') ? `[${host}]` : host}:${port}/${module}/`;
}

/**
 * The secret is in the environment of katafleet's own command and nowhere else. rsync's option parser reads ~/.popt: the
 * home is a folder that nobody can have made.
 */
const environment = ({ secret }: Credentials) => ({
  RSYNC_PASSWORD: secret,
  HOME: '/nonexistent',
  LANG: 'C',
  LC_ALL: 'C',
});

/** Fetches the module's files into the sandbox folder, where it runs. */
export function pullCommand(at: Advertised, credentials: Credentials): RsyncCommand {
  const argv = [...options(at), '--recursive', '--times', '--perms', url(at, credentials), './'];
  return { argv, env: environment(credentials) };
}

/** Sends files of the sandbox folder by name, and nothing but them; paths are bytes as the protocol has them. */
export function pushCommand(at: Advertised, credentials: Credentials, paths: readonly Buffer[]): RsyncCommand {
  const argv = [...options(at), '--files-from=-', '--from0', '--no-implied-dirs', './', url(at, credentials)];
  const stdin = Buffer.concat(paths.flatMap((path) => [path, Buffer.from([0])]));
  return { argv, env: environment(credentials), stdin };
}
