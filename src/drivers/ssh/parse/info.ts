import { malformed } from './malformed.ts';
import { shownBytes } from './quantity.ts';

export interface InfoAnswer {
  name: string;
  /** The engine's id; undefined if it says none. */
  id: string | undefined;
  cpus: number;
  /** Bytes, exact to three or four digits. */
  memory: number;
  kernel: string;
  storage: string;
  /** As `uname -m` prints it; undefined before 1.12. */
  machine: string | undefined;
  cgroupVersion: '1' | '2' | 'unknown';
  seccomp: boolean;
  swarm: 'inactive' | 'worker' | 'manager';
  runtimes: string[];
  /** The text after each `WARNING: `, on stdout and stderr. */
  warnings: string[];
}

/**
 * Parses `docker info` of any release. Warnings are on stderr from 1.6 to 18.06 and in some later releases, else on stdout.
 * @throws engine.failed
 */
export function parseInfo(stdout: string, stderr: string): InfoAnswer {
  const fields = new Map<string, string>();
  const security: string[] = [];
  let inSecurity = false;
  let inClient = false;
  for (const line of stdout.split('\n')) {
    if (/^(Client|Server):/.test(line)) inClient = line.startsWith('Client');
    if (inClient) continue;
    // A field begins at the margin, or after one blank within `Server:`. Lines that belong to a field are indented more.
    const field = /^ ?([A-Z][A-Za-z ]*[A-Za-z]):[ \t]*(.*)$/.exec(line);
    if (inSecurity && !field) security.push(line);
    if (!field) continue;
    const [, name = '', value = ''] = field;
    inSecurity = name === 'Security Options';
    if (inSecurity) security.push(value);
    if (!fields.has(name)) fields.set(name, value.trim());
  }
  const [name, cpus, memory] = [fields.get('Name'), Number(fields.get('CPUs')), shownBytes(fields.get('Total Memory') ?? '')];
  if (!name || !Number.isInteger(cpus) || cpus < 1 || memory === undefined || memory === 0) {
    throw malformed('info', "the host's name, CPUs and memory", stdout);
  }
  const cgroup = fields.get('Cgroup Version');
  const preset = fields.get('Default Runtime');
  return {
    name,
    id: fields.get('ID') || undefined,
    cpus,
    memory,
    kernel: fields.get('Kernel Version') || 'unknown',
    storage: fields.get('Storage Driver') || 'unknown',
    machine: fields.get('Architecture'),
    cgroupVersion: cgroup === '1' || cgroup === '2' ? cgroup : 'unknown',
    seccomp: security.some((line) => /\bseccomp\b/.test(line)),
    swarm: fields.get('Swarm') !== 'active' ? 'inactive' : /^ +Is Manager: true$/m.test(stdout) ? 'manager' : 'worker',
    runtimes: [preset ?? 'runc', ...(fields.get('Runtimes') ?? '').split(' ')].filter(
      (one, at, all) => one !== '' && !one.startsWith('io.') && all.indexOf(one) === at,
    ),
    warnings: `${stdout}\n${stderr}`.split('\n').flatMap((line) => /^\s*WARNING: (.*\S)/.exec(line)?.[1] ?? []),
  };
}
