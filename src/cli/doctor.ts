import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { Command } from 'commander';
import { KatafleetError, messageOf } from '../core/errors.ts';
import { formatBytes } from '../core/quantity.ts';
import { supervisorFile } from '../drivers/supervisor.ts';
import { readRecipes } from '../images/recipe.ts';
import { ownImageFindings } from './doctor-image.ts';
import { sshFindings, type SshNode } from './doctor-ssh.ts';
import { coreDumps, type Finding, landlock, limit, limits } from './finding.ts';
import { colours } from './terminal.ts';
import { type At, configOf, fleetOf, type Where } from './where.ts';

export function doctorCommand(at: At): Command {
  return new Command('doctor')
    .description(
      'Looks at this machine, its engine and every node over ssh, says in plain words what is missing and the command that mends it. Exits with 1 when something stops katafleet.',
    )
    .action(async () => {
      const findings = [...machine(), ...(await ownImageFindings()), ...(await nodes(at()))];
      const c = colours(process.stdout);
      const mark = { good: c.green('✓'), weak: c.yellow('!'), bad: c.red('✗') };
      for (const { what, state, mend } of findings) process.stdout.write(`${mark[state]} ${what}\n${mend ? `    ${c.bold(mend)}\n` : ''}`);
      const bad = findings.filter(({ state }) => state === 'bad').length;
      process.stdout.write(bad === 0 ? 'katafleet can run here\n' : `${bad} to mend before katafleet can run here\n`);
      process.exitCode = bad === 0 ? 0 : 1;
    });
}

function machine(): Finding[] {
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
  if (!present('debootstrap')) {
    findings.push({ what: 'no debootstrap: base images need a registry that answers', state: 'weak', mend: 'apt-get install debootstrap' });
  }
  return findings;
}

/** Empty where the kernel doesn't say. */
function corePattern(): string {
  try {
    return readFileSync('/proc/sys/kernel/core_pattern', 'utf8');
  } catch {
    return '';
  }
}

const present = (command: string) => !spawnSync(command, ['--version'], { stdio: 'ignore' }).error;

/** Nodes over ssh one by one, the rest by the engine that images are built on. */
async function nodes(at: Where): Promise<Finding[]> {
  const named: SshNode[] | undefined = at.endpoint === undefined ? configOf(at).nodes : [{ name: at.endpoint, endpoint: at.endpoint }];
  const overSsh = named?.filter(({ endpoint }) => endpoint.startsWith('ssh:')) ?? [];
  const found = await Promise.all(overSsh.map(sshFindings));
  const others = named === undefined || named.length > overSsh.length;
  return [...(others ? await engine(at) : []), ...found.flat()];
}

async function engine(at: Where): Promise<Finding[]> {
  const findings: Finding[] = [];
  try {
    await using fleet = fleetOf(at);
    const found = await fleet.driver.probe();
    findings.push({
      what: `engine ${found.engineVersion} (API ${found.apiVersion}) at ${fleet.driver.endpoint}: ${found.cpus} CPUs, ${formatBytes(found.memory)}, cgroup v${found.cgroupVersion}`,
      state: 'good',
    });
    findings.push(
      ...limits(found, { memory: 'bad', swap: 'weak' }),
      ...landlock(found),
      limit(found.enforces.cpu, 'CPU', 'weak', 'use a kernel with CONFIG_CFS_BANDWIDTH'),
    );
    findings.push(
      found.seccomp
        ? { what: 'seccomp is on', state: 'good' }
        : { what: 'no seccomp: user code can reach every system call', state: 'weak', mend: 'use a kernel with CONFIG_SECCOMP_FILTER' },
    );
    const tags = new Set((await fleet.driver.images()).flatMap((image) => image.tags));
    for (const { name, service } of (await readRecipes()).values()) {
      if (service) continue;
      findings.push(
        tags.has(`katafleet/${name}:latest`)
          ? { what: `image ${name} is built`, state: 'good' }
          : { what: `image ${name} is not built on this node`, state: 'weak', mend: `katafleet images build ${name}` },
      );
    }
  } catch (error) {
    const mend = error instanceof KatafleetError ? error.hint : undefined;
    findings.push({ what: messageOf(error), state: 'bad', ...(mend ? { mend } : {}) });
    if (!existsSync('/usr/sbin/dockerd') && !present('dockerd'))
      findings.push({ what: 'no Docker engine is installed here', state: 'weak', mend: 'apt-get install docker.io' });
  }
  return findings;
}
