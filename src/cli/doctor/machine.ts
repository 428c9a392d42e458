import { accessSync, constants, existsSync, readFileSync, statSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { userInfo } from 'node:os';
import type { Config } from '../../config/schema.ts';
import { messageOf } from '../../model/errors.ts';
import { supervisorFile } from '../../drivers/docker/supervisor.ts';
import type { Finding } from '../../drivers/finding.ts';

/** Folders of administration programs, which are not on an ordinary user's PATH on Debian. */
const systemFolders = ['/usr/local/sbin', '/usr/sbin', '/sbin'];

/** Whether a program is installed, even if it is not on the user's PATH. */
export function isInstalled(program: string, path = process.env['PATH'] ?? ''): boolean {
  const folders = [...path.split(delimiter).filter((folder) => folder !== ''), ...systemFolders];
  return folders.some((folder) => may(join(folder, program), constants.X_OK));
}

/**
 * Returns findings about what a core_pattern (core(5)) does when a program crashes. Over ssh, a sandbox cannot have a core limit that a
 * handler obeys.
 */
export function coreDumps(pattern: string): Finding[] {
  if (!/^[|@]/.test(pattern)) return [];
  return [
    {
      what: `core dumps of this machine go to a handler (${pattern.trim().split(/\s/)[0] ?? ''}): on a node over ssh each crash of a program starts it, outside the sandbox`,
      state: 'weak',
      mend: 'sysctl -w kernel.core_pattern=core, on this machine if it is such a node, and on each such node',
    },
  ];
}

function may(path: string, mode: number): boolean {
  try {
    accessSync(path, mode);
    return true;
  } catch {
    return false;
  }
}

/** Returns findings about this machine: Node, the supervisors, core dumps, and the tools that build images. */
export function machineFindings(): Finding[] {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const current = major > 20 || (major === 20 && minor >= 19);
  const findings: Finding[] = [
    current
      ? { what: `Node ${process.versions.node}`, state: 'good' }
      : { what: `Node ${process.versions.node} is older than 20.19`, state: 'bad', mend: 'install Node 20.19 or later' },
  ];
  for (const architecture of ['amd64', 'arm64'] as const) {
    const own = process.arch === (architecture === 'amd64' ? 'x64' : 'arm64');
    if (existsSync(supervisorFile(architecture))) findings.push({ what: `the supervisor for ${architecture} is built`, state: 'good' });
    else if (own)
      findings.push({ what: `the supervisor for ${architecture} is not built`, state: 'bad', mend: 'npm run build:supervisor' });
  }
  findings.push(...coreDumps(corePattern()));
  if (!isInstalled('debootstrap')) {
    const root = process.getuid?.() === 0;
    const mend = root
      ? 'apt-get install debootstrap'
      : 'sudo apt-get install debootstrap, and build the first image as root, which debootstrap needs';
    findings.push({ what: 'debootstrap is not installed: base images need a registry that answers', state: 'weak', mend });
  }
  return findings;
}

/** Returns findings about the folders of the journal and the katas, which `katafleet serve` and `katafleet kata` must be able to write. */
export function folderFindings({ journal, katas }: Pick<Config, 'journal' | 'katas'>): Finding[] {
  return [place('the journal', 'journal.file', journal.file), place('the folder of the katas', 'katas.folder', katas.folder)];
}

function place(what: string, key: string, path: string): Finding {
  let there = path;
  while (!existsSync(there) && dirname(there) !== there) there = dirname(there);
  // SQLite creates files beside the journal, so its folder is checked too.
  const needed = there === path && key === 'journal.file' ? [path, dirname(path)] : [there];
  const closed = needed.find((one) => !may(one, constants.R_OK | constants.W_OK) || (one !== path && !statSync(one).isDirectory()));
  if (closed === undefined) return { what: `${what} can be written (${path})`, state: 'good' };
  const who = nameOfUser();
  return {
    what: `${what} can't be written by ${who}: ${closed} is ${may(closed, constants.W_OK) ? 'not a folder' : 'not writable'} (${path})`,
    state: 'bad',
    mend: `run scripts/server-setup, which makes /var/lib/katafleet; or set ${key} in katafleet.yaml to a path that ${who} can write`,
  };
}

function nameOfUser(): string {
  try {
    return userInfo().username;
  } catch (error) {
    return `uid ${process.getuid?.() ?? messageOf(error)}`;
  }
}

/** Returns the kernel's core_pattern; empty if it cannot be read. */
function corePattern(): string {
  try {
    return readFileSync('/proc/sys/kernel/core_pattern', 'utf8');
  } catch {
    return '';
  }
}
