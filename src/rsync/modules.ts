import { randomBytes } from 'node:crypto';

/** The credentials of a module. They are made for one transfer of one run and are useless after it. */
export interface Credentials {
  module: string;
  user: string;
  secret: string;
}

/** A module of rsyncd.conf. */
export interface DaemonModule {
  kind: 'pull' | 'drop';
  credentials: Credentials;
  /** The daemon's root folder while it serves this module. */
  path: string;
  /** The user and group with which the daemon reads or writes there. */
  uid: number;
  gid: number;
}

/** Settings that all modules share. */
export interface ModuleSettings {
  /** Networks whose hosts may connect, in the form of rsyncd.conf's `hosts allow`. */
  hostsAllow: readonly string[];
  /** The folder of secrets and lock files. */
  folder: string;
  logFile: string;
  /** The daemon closes a connection that is silent for this long (s). */
  timeout: number;
}

/** The options that a client may use; the daemon refuses all others. They are the ones of katafleet's own commands below. */
const allowed = {
  pull: ['recursive', 'times', 'perms', 'whole-file', 'timeout'],
  drop: ['relative', 'no-implied-dirs', 'whole-file', 'timeout'],
} as const;

/** Returns a module name of 128 random bits, a user, and a secret of 256 random bits. */
export function newCredentials(random: (bytes: number) => Buffer = randomBytes): Credentials {
  return {
    module: `kf-${random(16).toString('hex')}`,
    user: random(8).toString('hex'),
    secret: random(32).toString('base64url'),
  };
}

/** Returns the path of a module's secret. */
export const secretsFile = ({ folder }: ModuleSettings, { module }: Credentials): string => `${folder}/${module}.secrets`;
export const secretsText = ({ user, secret }: Credentials): string => `${user}:${secret}\n`;
export const lockFile = ({ folder }: ModuleSettings, { module }: Credentials): string => `${folder}/${module}.lock`;

/** Whether rsyncd.conf can express this path: it expands `%NAME%`, trims blanks, and joins lines at a backslash. */
export function canBePath(path: string): boolean {
  return path.startsWith('/') && path.isWellFormed() && !/[\x00-\x1f\x7f%]|^\s|\s$|\\$|\/\.\//.test(path);
}

/** Returns the module's part of rsyncd.conf. */
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

/** Returns the rsyncd.conf of katafleet's own daemon. */
export function daemonText(modules: readonly string[], { folder, logFile, pidFile }: { folder: string; logFile: string; pidFile: string }) {
  const head = [
    '# Written by katafleet, again with each module that it adds or removes.',
    `pid file = ${pidFile}`,
    `log file = ${logFile}`,
    `lock file = ${folder}/rsyncd.lock`,
    // Without this, rsync's small frames wait for the other side's delayed acknowledgements: 40 ms each time.
    'socket options = TCP_NODELAY',
    'list = no',
    'use chroot = yes',
    'hosts deny = *',
    'reverse lookup = no',
  ];
  return `${head.join('\n')}\n${modules.join('')}`;
}

/** One of katafleet's own commands in a sandbox. */
export interface RsyncCommand {
  argv: string[];
  env: Record<string, string>;
  stdin?: Buffer<ArrayBuffer>;
}

/** The address at which sandboxes reach the daemon. */
export interface Advertised {
  host: string;
  port: number;
  timeout: number;
}

const options = ({ timeout }: Advertised) => [
  '/usr/bin/rsync',
  // The first version whose time stamps have nanoseconds; an older client reports that and ends.
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
 * The secret is only in the environment of katafleet's own command. rsync's option parser reads ~/.popt, so the home is a folder that
 * no one can create.
 */
const environment = ({ secret }: Credentials) => ({
  RSYNC_PASSWORD: secret,
  HOME: '/nonexistent',
  LANG: 'C',
  LC_ALL: 'C',
});

/** Returns the command that fetches the module's files into its working directory, the sandbox folder. */
export function pullCommand(at: Advertised, credentials: Credentials): RsyncCommand {
  const argv = [...options(at), '--recursive', '--times', '--perms', url(at, credentials), './'];
  return { argv, env: environment(credentials) };
}

/**
 * Returns the command that sends the files with these names, and no others, from the sandbox folder. Paths are bytes, as in the
 * protocol.
 */
export function pushCommand(at: Advertised, credentials: Credentials, paths: readonly Buffer[]): RsyncCommand {
  const argv = [...options(at), '--files-from=-', '--from0', '--no-implied-dirs', './', url(at, credentials)];
  const stdin = Buffer.concat(paths.flatMap((path) => [path, Buffer.from([0])]));
  return { argv, env: environment(credentials), stdin };
}
