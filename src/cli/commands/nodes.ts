import { setTimeout as sleep } from 'node:timers/promises';
import { Command } from 'commander';
import { ago, parseDuration } from '../../model/quantity.ts';
import { formatBytes } from '../../model/quantity.ts';
import type { Machine, NodeSummary } from '../../model/node.ts';
import { machineOf, splitMachine } from '../../fleet/node/machines.ts';
import { table } from '../show/table.ts';
import { colours, escapeControls } from '../show/terminal.ts';
import { type At, fleetOf, namedServer, runningServer, serverOf } from '../where.ts';

export function nodesCommand(at: At): Command {
  return new Command('nodes')
    .description('Shows the nodes as a running katafleet sees them; without one, probes each node once. Exits with 1 if no node is ready.')
    .option('-w, --watch', 'refresh until Ctrl-C')
    .option('--interval <time>', 'how often --watch refreshes', '2s')
    .option('--wide', 'show engine, kernel, limits, runtimes and labels too')
    .option('--json', 'print JSON')
    .action(async (options: { watch?: boolean; interval: string; wide?: boolean; json?: boolean }) => {
      const where = at();
      const server = await runningServer(where);
      const show = (nodes: NodeSummary[]) => {
        if (options.json) process.stdout.write(`${JSON.stringify(nodes)}\n`);
        else process.stdout.write(`${nodesTable(nodes, options.wide ?? false)}\n`);
        process.exitCode = nodes.some(({ state }) => state === 'ready') ? 0 : 1;
      };
      const ask = () => (server ?? serverOf(where)).nodes();
      if (server && !options.watch) {
        show(await ask());
        return;
      }
      if (server) {
        await watch(parseDuration(options.interval), async () => show(await ask()), options.json ?? false);
        return;
      }
      await using katafleet = fleetOf(where);
      await katafleet.fleet.open();
      if (options.watch) await watch(parseDuration(options.interval), () => show(katafleet.fleet.nodes()), options.json ?? false);
      else show(katafleet.fleet.nodes());
    });
}

/** Shows the nodes repeatedly: in place on a terminal, one after another elsewhere. */
async function watch(intervalMs: number, show: () => Promise<void> | void, json: boolean): Promise<void> {
  const stop = new AbortController();
  const end = () => stop.abort();
  process.once('SIGINT', end).once('SIGTERM', end);
  while (!stop.signal.aborted) {
    if (process.stdout.isTTY && !json) process.stdout.write('\u001b[H\u001b[2J');
    await show();
    await sleep(Math.max(100, intervalMs), undefined, { signal: stop.signal }).catch(() => undefined); // Ctrl-C ends it
  }
  process.off('SIGINT', end).off('SIGTERM', end);
  process.exitCode = 0;
}

function stateOf(node: NodeSummary): string {
  return node.cordoned === 'no' ? node.state : `${node.state}, ${node.cordoned}`;
}

const availabilityWords = { active: '', pause: ', cordoned', drain: ', draining' } as const;
const quiet = ({ sandboxes: { idle, busy } }: Machine): boolean => idle + busy === 0;

/** Returns a machine's state in the words that a node's state has. */
function machineState(machine: Machine): string {
  return `${machine.state}${machine.availability === 'drain' && quiet(machine) ? ', drained' : availabilityWords[machine.availability]}`;
}

/**
 * Returns the row of a machine below its node. It shows the machine's memory only: katafleet does not know how much of it the swarm has
 * booked.
 */
function machineRow(machine: Machine, wide: boolean): string[] {
  const { id, name, role, leader, engineVersion, memory, sandboxes, images, leftOver, message, architecture, cpus, address, labels } =
    machine;
  const left = leftOver ? [`${leftOver} finished container${leftOver === 1 ? '' : 's'} can't be removed there`] : [];
  return [
    `  ${name}`,
    machineState(machine),
    leader ? `${role}, leader` : role,
    engineVersion,
    formatBytes(memory),
    `${sandboxes.idle}/${sandboxes.busy}`,
    images === undefined ? '-' : String(images),
    '',
    ...(wide ? [`${architecture}, ${cpus} CPUs, ${address}, id ${id.slice(0, 12)}`, '', '', '', labelsOf(labels)] : []),
    [...(message === '' ? [] : [message]), ...left].join('; '),
  ];
}

function labelsOf(labels: Readonly<Record<string, string>>): string {
  return (
    Object.entries(labels)
      .map(([key, value]) => `${key}=${value}`)
      .join(' ') || '-'
  );
}

export function nodesTable(nodes: readonly NodeSummary[], wide: boolean, now = Date.now()): string {
  const c = colours(process.stdout);
  const paint = {
    ready: c.green,
    suspect: c.yellow,
    probing: c.yellow,
    unknown: c.yellow,
    disconnected: c.yellow,
    down: c.red,
    unusable: c.red,
  };
  const head = [
    'NODE',
    'STATE',
    'DRIVER',
    'ENGINE',
    'MEMORY BOOKED/FREE',
    'IDLE/BUSY',
    'IMAGES',
    'SEEN',
    ...(wide ? ['MACHINE', 'LIMITS', 'RUNTIMES', 'SKEW', 'LABELS'] : []),
    'WHY',
  ];
  const nodeRow = (node: NodeSummary): string[] => [
    node.name,
    stateOf(node),
    node.driver ?? '-',
    node.engine === undefined ? '-' : `${node.engine} (${node.api ?? '?'})`,
    node.memory.total > 0 ? `${formatBytes(node.memory.booked)} / ${formatBytes(node.memory.free)}` : '-',
    `${node.sandboxes.idle}/${node.sandboxes.busy}`,
    String(node.images),
    ago(node.lastSeen, now),
    ...(wide
      ? [
          node.architecture === undefined
            ? '-'
            : `${node.architecture}, ${node.cpus} CPUs, ${formatBytes(node.memory.total)}, ${node.storage ?? ''}, ${cgroupOf(node.cgroup)}, Linux ${node.kernel ?? ''}`,
          node.enforces.join(' ') || '-',
          node.runtimes.join(' ') || '-',
          node.clockSkewMs === undefined ? '-' : `${node.clockSkewMs} ms`,
          labelsOf(node.labels),
        ]
      : []),
    node.trouble?.message ?? node.why,
  ];
  const lines = nodes.flatMap((node) => [
    { state: node.state, row: nodeRow(node) },
    ...(node.members ?? []).map((machine) => ({ state: machine.state, row: machineRow(machine, wide) })),
  ]);
  const rows = lines.map(({ row }) => row);
  return table(head, rows, (row, column, cell) => (column === 1 ? paint[lines[row]?.state ?? 'down'](cell) : cell));
}

/** `cordon`, `drain`, `uncordon`: a user's decision about a node, which the running katafleet stores. `what` is the summary. */
export function cordonCommand(at: At, how: 'cordon' | 'drain' | 'uncordon', what: string): Command {
  const command = new Command(how)
    .description(
      `${what.charAt(0).toUpperCase()}${what.slice(1)}. Needs a running katafleet serve, which stores it; for NODE/MACHINE the swarm stores it.`,
    )
    .argument('<node>', 'a node, or NODE/MACHINE for one machine of a swarm, by its host name or id');
  if (how === 'drain') command.option('--wait <time>', 'how long to wait at most until no run is left on it', '0s');
  return command.action(async (node: string, options: { wait?: string }) => {
    const server = namedServer(at()) ?? serverOf(at());
    let { ended, line } = drainProgress(node, await server.decide(how, node));
    const until = Date.now() + parseDuration(options.wait ?? '0s');
    while (how === 'drain' && !ended && Date.now() < until) {
      await new Promise((resolve) => setTimeout(resolve, 200));
      ({ ended, line } = drainProgress(node, await server.node(splitMachine(node).node)));
    }
    process.stdout.write(`${escapeControls(line)}\n`);
  });
}

/** Whether the drain of the node, or of the machine behind it, has ended; and the line that reports its progress. */
export function drainProgress(name: string, summary: NodeSummary): { ended: boolean; line: string } {
  const { node, machine } = splitMachine(name);
  const lineOf = (state: string, { idle, busy }: NodeSummary['sandboxes']) => `${name}: ${state}, ${busy} running, ${idle} idle`;
  if (machine === undefined) return { ended: summary.cordoned === 'drained', line: lineOf(stateOf(summary), summary.sandboxes) };
  const found = machineOf(summary.members ?? [], node, machine);
  return { ended: found.availability === 'drain' && quiet(found), line: lineOf(machineState(found), found.sandboxes) };
}

/** The version of an engine's control groups; old engines do not report it. */
export const cgroupOf = (version: string | undefined): string =>
  version === '1' || version === '2' ? `cgroup v${version}` : 'cgroup version unknown';
