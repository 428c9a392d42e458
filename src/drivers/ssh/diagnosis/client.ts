import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import type { Finding } from '../../finding.ts';
import { masterWords, sshCommand, type SshSettings, type SshTarget } from '../../transport/target.ts';

/** What this machine needs to reach the node: a key and the node's host key, or the right to call ssh as another user. */
export function clientFindings(target: SshTarget, settings: SshSettings): Finding[] {
  // Another user's files can't be read here. The connection will show whether they suffice.
  if (settings.as !== undefined) return [sudo(settings, settings.as)];
  const options = opensshOptions(target, settings);
  return options === undefined ? [] : [key(options), hostKey(target, options)];
}

function sudo(settings: SshSettings, as: string): Finding {
  const [command, ...words] = [...sshCommand(settings), '-V'];
  const { status, stderr, error } = spawnSync(command, words, { encoding: 'utf8' });
  if (status === 0) return { what: `ssh may be called as ${as}`, state: 'good' };
  const why = error ? error.message : stderr.trim().split('\n')[0];
  return {
    what: `ssh can't be called as ${as} (${why ?? ''})`,
    state: 'bad',
    mend: 'scripts/server-setup, with --web-user and the user who runs this',
  };
}

/** Values of OpenSSH's options, by their names in lower case. */
type OpensshOptions = ReadonlyMap<string, readonly string[]>;

/** OpenSSH's options for the node, from its own configuration files too. Undefined where ssh can't print them (below 6.8). */
function opensshOptions(target: SshTarget, settings: SshSettings): OpensshOptions | undefined {
  const [command = '', ...words] = [...sshCommand(settings), '-G', ...masterWords(target, settings, 'none')];
  const { status, stdout } = spawnSync(command, words, { encoding: 'utf8' });
  if (status !== 0) return undefined;
  const options = new Map<string, string[]>();
  for (const line of stdout.split('\n')) {
    const [name = '', ...value] = line.split(' ');
    options.set(name, [...(options.get(name) ?? []), value.join(' ')]);
  }
  return options;
}

const atHome = (path: string) => path.replace(/^~(?=\/)/, homedir());
const files = (options: OpensshOptions, name: string) => (options.get(name) ?? []).flatMap((value) => value.split(' ')).map(atHome);

function key(options: OpensshOptions): Finding {
  const paths = (options.get('identityfile') ?? []).map((path) => atHome(path.replace(/^"(.*)"$/, '$1')));
  const existing = paths.filter((path) => existsSync(path));
  const readable = existing.find(isReadable);
  if (readable !== undefined) return { what: `the key ${readable} is there`, state: 'good' };
  if ((process.env['SSH_AUTH_SOCK'] ?? '') !== '') return { what: 'there is no key file; the ssh agent may have a key', state: 'good' };
  const [unreadable] = existing;
  if (unreadable !== undefined)
    return {
      what: `the key ${unreadable} can't be read by this user`,
      state: 'bad',
      mend: `chown ${process.env['USER'] ?? 'USER'} ${unreadable}`,
    };
  return { what: `no key: none of ${paths.join(', ')} is there`, state: 'bad', mend: 'scripts/server-setup, or ssh-keygen -t ed25519' };
}

function isReadable(path: string): boolean {
  try {
    accessSync(path, constants.R_OK);
    return true;
  } catch {
    return false;
  }
}

function hostKey({ host }: SshTarget, options: OpensshOptions): Finding {
  const name = options.get('hostkeyalias')?.[0] ?? options.get('hostname')?.[0] ?? host;
  const port = options.get('port')?.[0] ?? '22';
  const known = port === '22' || options.has('hostkeyalias') ? name : `[${name}]:${port}`;
  const places = [...files(options, 'userknownhostsfile'), ...files(options, 'globalknownhostsfile')];
  const place = places.find((path) => spawnSync('ssh-keygen', ['-F', known, '-f', path], { stdio: 'ignore' }).status === 0);
  if (place !== undefined) return { what: `the host key of ${known} is in ${place}`, state: 'good' };
  const scan = `ssh-keyscan ${port === '22' ? '' : `-p ${port} `}${options.get('hostname')?.[0] ?? host}`;
  return {
    what: `no host key of ${known} is known`,
    state: 'bad',
    mend: `scripts/server-setup --node ${host}, or ${scan} >> ${places[0] ?? join(homedir(), '.ssh/known_hosts')} once its fingerprint is compared`,
  };
}
