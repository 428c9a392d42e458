import { cgroupOf } from './nodes.ts';
import { Command } from 'commander';
import { answerTime, failure, type Finding, landlock, limit, limits } from '../../drivers/finding.ts';
import { diagnoseEndpoint, type EndpointSettings } from '../../drivers/registry.ts';
import { defaults } from '../../model/defaults.ts';
import { formatBytes } from '../../model/quantity.ts';
import { readRecipes } from '../../images/recipe.ts';
import { ownImageFindings } from '../doctor/image.ts';
import { folderFindings, isInstalled, machineFindings } from '../doctor/machine.ts';
import { colours, escapeControls } from '../show/terminal.ts';
import { type At, configOf, fleetOf, type Where } from '../where.ts';

export function doctorCommand(at: At): Command {
  return new Command('doctor')
    .description(
      'Checks this machine, its engine and every node over ssh. Prints what is missing and the command that installs or mends it. Exits with 1 if katafleet cannot run here.',
    )
    .action(async () => {
      const findings = [...machineFindings(), ...(await ownImageFindings()), ...(await configured(at()))];
      const c = colours(process.stdout);
      const mark = { good: c.green('✓'), weak: c.yellow('!'), bad: c.red('✗') };
      for (const { what, state, mend } of findings)
        process.stdout.write(`${mark[state]} ${escapeControls(what)}\n${mend ? `    ${c.bold(escapeControls(mend))}\n` : ''}`);
      const bad = findings.filter(({ state }) => state === 'bad').length;
      const problems = `${bad} problem${bad === 1 ? '' : 's'} to solve before katafleet can run here\n`;
      process.stdout.write(bad === 0 ? 'katafleet can run here\n' : problems);
      process.exitCode = bad === 0 ? 0 : 1;
    });
}

/**
 * Checks the configuration's folders, then each node whose driver has a diagnosis. One engine builds the images, and its diagnosis
 * covers the other engines.
 */
async function configured(at: Where): Promise<Finding[]> {
  const config = at.endpoint === undefined ? configOf(at) : undefined;
  const nodes: readonly DiagnosedNode[] =
    config?.nodes ?? (at.endpoint === undefined ? [] : [{ name: at.endpoint, endpoint: at.endpoint }]);
  const timeoutMs = config?.health.timeout ?? defaults.health.timeoutMs;
  const [images, unread] = await imagesForRuns();
  const found = await Promise.all(nodes.map((node) => diagnoseNode(node, timeoutMs, images)));
  const others = nodes.length === 0 || found.includes(undefined);
  return [
    ...unread,
    ...(config ? folderFindings(config) : []),
    ...(others ? await engine(at, timeoutMs, images) : []),
    ...found.flatMap((findings) => findings ?? []),
  ];
}

/** A node of the configuration. */
type DiagnosedNode = EndpointSettings & { name: string; withoutMemoryLimits?: boolean };

/** Returns the findings of the node's driver, with the node's name in each; undefined if the driver has no diagnosis. */
async function diagnoseNode(node: DiagnosedNode, timeoutMs: number, images: readonly string[]): Promise<Finding[] | undefined> {
  const findings = await diagnoseEndpoint(node, { timeoutMs, withoutMemoryLimits: node.withoutMemoryLimits === true, images });
  return findings?.map((finding) => ({ ...finding, what: `${node.name}: ${finding.what}` }));
}

/** Returns the recipes whose images run commands; a finding if a recipe cannot be read. */
async function imagesForRuns(): Promise<[names: string[], unread: Finding[]]> {
  try {
    return [Array.from((await readRecipes()).values()).flatMap(({ name, service }) => (service ? [] : [name])), []];
  } catch (error) {
    return [[], [failure(error)]];
  }
}

async function engine(at: Where, timeoutMs: number, images: readonly string[]): Promise<Finding[]> {
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
    for (const name of images) {
      findings.push(
        tags.has(`katafleet/${name}:latest`)
          ? { what: `image ${name} is built`, state: 'good' }
          : { what: `image ${name} is not built on this node`, state: 'weak', mend: `katafleet images build ${name}` },
      );
    }
  } catch (error) {
    findings.push(failure(error));
    if (!isInstalled('dockerd'))
      findings.push({ what: 'no Docker engine is installed here', state: 'weak', mend: 'apt-get install docker.io' });
  }
  return findings;
}
