import { cgroupOf } from './nodes.ts';
import { Command } from 'commander';
import { KatafleetError, messageOf } from '../../model/errors.ts';
import { formatBytes } from '../../model/quantity.ts';
import { readRecipes } from '../../images/recipe.ts';
import { ownImageFindings } from '../doctor/image.ts';
import { folderFindings, isInstalled, machineFindings } from '../doctor/machine.ts';
import { sshFindings, type SshNode } from '../doctor/ssh.ts';
import { answerTime, type Finding, landlock, limit, limits } from '../show/finding.ts';
import { colours } from '../show/terminal.ts';
import { type At, configOf, fleetOf, type Where } from '../where.ts';

export function doctorCommand(at: At): Command {
  return new Command('doctor')
    .description(
      'Looks at this machine, its engine and every node over ssh, says in plain words what is missing and the command that mends it. Exits with 1 when something stops katafleet.',
    )
    .action(async () => {
      const findings = [...machineFindings(), ...(await ownImageFindings()), ...(await configured(at()))];
      const c = colours(process.stdout);
      const mark = { good: c.green('✓'), weak: c.yellow('!'), bad: c.red('✗') };
      for (const { what, state, mend } of findings) process.stdout.write(`${mark[state]} ${what}\n${mend ? `    ${c.bold(mend)}\n` : ''}`);
      const bad = findings.filter(({ state }) => state === 'bad').length;
      process.stdout.write(bad === 0 ? 'katafleet can run here\n' : `${bad} to mend before katafleet can run here\n`);
      process.exitCode = bad === 0 ? 0 : 1;
    });
}

/** How long a fleet waits where nothing is configured, ms: that of `health.timeout`. */
const usualTimeoutMs = 2_000;

/** What the configuration names: its places, nodes over ssh one by one, the rest by the engine that images are built on. */
async function configured(at: Where): Promise<Finding[]> {
  const config = at.endpoint === undefined ? configOf(at) : undefined;
  const named: SshNode[] | undefined = config ? config.nodes : [{ name: at.endpoint ?? '', endpoint: at.endpoint ?? '' }];
  const timeoutMs = config?.health.timeout ?? usualTimeoutMs;
  const overSsh = named?.filter(({ endpoint }) => endpoint.startsWith('ssh:')) ?? [];
  const found = await Promise.all(overSsh.map((node) => sshFindings(node, timeoutMs)));
  const others = named === undefined || named.length > overSsh.length;
  return [...(config ? folderFindings(config) : []), ...(others ? await engine(at, timeoutMs) : []), ...found.flat()];
}

async function engine(at: Where, timeoutMs: number): Promise<Finding[]> {
  const findings: Finding[] = [];
  try {
    await using fleet = fleetOf(at);
    const begun = performance.now();
    const found = await fleet.driver.probe();
    const tookMs = performance.now() - begun;
    findings.push({
      what: `engine ${found.engineVersion} (API ${found.apiVersion}) at ${fleet.driver.endpoint}: ${found.cpus} CPUs, ${formatBytes(found.memory)}, ${cgroupOf(found.cgroupVersion)}`,
      state: 'good',
    });
    findings.push(
      answerTime(tookMs, timeoutMs),
      ...limits(found, { memory: 'bad', swap: 'weak' }),
      ...landlock(found, true),
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
    if (!isInstalled('dockerd'))
      findings.push({ what: 'no Docker engine is installed here', state: 'weak', mend: 'apt-get install docker.io' });
  }
  return findings;
}
