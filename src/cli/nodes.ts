import { Command } from 'commander';
import { parseDuration } from '../core/quantity.ts';
import { formatBytes } from '../core/quantity.ts';
import type { NodeSummary } from '../fleet/fleet.ts';
import { ago, table } from './table.ts';
import { colours } from './terminal.ts';
import { type At, fleetOf, namedServer, runningServer, serverOf } from './where.ts';

export function nodesCommand(at: At): Command {
  return new Command('nodes')
    .summary('the nodes: state, driver, memory, sandboxes')
    .description('Shows the nodes, as a running katafleet sees them, else by asking each once. Exits with 1 when none is ready.')
    .option('-w, --watch', 'keep it current, until Ctrl-C')
    .option('--interval <time>', 'how often --watch looks', '2s')
    .option('--wide', 'engine, kernel, limits, runtimes and labels too')
    .option('--json', 'print JSON')
    .action(async (options: { watch?: boolean; interval: string; wide?: boolean; json?: boolean }) => {
      const where = at();
      const server = await runningServer(where);
      const show = (nodes: NodeSummary[]) => {
        if (options.json) process.stdout.write(`${JSON.stringify(nodes)}\n`);
        else process.stdout.write(`${nodesTable(nodes, options.wide ?? false)}\n`);
        process.exitCode = nodes.some(({ state }) => state === 'ready') ? 0 : 1;
      };
      const ask = async () => (await (server ?? serverOf(where)).call<{ nodes: NodeSummary[] }>('GET', '/v1/nodes')).nodes;
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

/** Shows it again and again: in place on a terminal, one after another elsewhere. */
async function watch(intervalMs: number, show: () => Promise<void> | void, json: boolean): Promise<void> {
  const stop = new AbortController();
  const end = () => stop.abort();
  process.once('SIGINT', end).once('SIGTERM', end);
  while (!stop.signal.aborted) {
    if (process.stdout.isTTY && !json) process.stdout.write('\u001b[H\u001b[2J');
    await show();
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, Math.max(100, intervalMs));
      stop.signal.addEventListener(
        'abort',
        () => {
          clearTimeout(timer);
          resolve();
        },
        { once: true },
      );
    });
  }
  process.off('SIGINT', end).off('SIGTERM', end);
  process.exitCode = 0;
}

function stateOf(node: NodeSummary): string {
  return node.cordoned === 'no' ? node.state : `${node.state}, ${node.cordoned}`;
}

export function nodesTable(nodes: readonly NodeSummary[], wide: boolean, now = Date.now()): string {
  const c = colours(process.stdout);
  const paint = { ready: c.green, suspect: c.yellow, probing: c.yellow, down: c.red, unusable: c.red };
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
  const rows = nodes.map((node) => [
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
            : `${node.architecture}, ${node.cpus} CPUs, ${formatBytes(node.memory.total)}, ${node.storage ?? ''}, cgroup v${node.cgroup ?? '?'}, Linux ${node.kernel ?? ''}`,
          node.enforces.join(' ') || '-',
          node.runtimes.join(' ') || '-',
          node.clockSkewMs === undefined ? '-' : `${node.clockSkewMs} ms`,
          Object.entries(node.labels)
            .map(([key, value]) => `${key}=${value}`)
            .join(' ') || '-',
        ]
      : []),
    node.trouble?.message ?? node.why,
  ]);
  return table(head, rows, (row, column, cell) => (column === 1 ? paint[nodes[row]?.state ?? 'down'](cell) : cell));
}

/** `cordon`, `drain`, `uncordon`: what a person decides about a node, kept by the running katafleet. */
export function cordonCommands(at: At): Command[] {
  const of = {
    cordon: 'send no new runs to a node',
    drain: 'let a node finish, refuse it new runs, empty its pools',
    uncordon: 'use a node again',
  } as const;
  return (Object.keys(of) as (keyof typeof of)[]).map((how) => {
    const command = new Command(how)
      .description(`${of[how].charAt(0).toUpperCase()}${of[how].slice(1)}. Needs a running katafleet serve, which remembers it.`)
      .summary(of[how])
      .argument('<node>');
    if (how === 'drain') command.option('--wait <time>', 'wait until nothing runs there any more, at most so long', '0s');
    return command.action(async (node: string, options: { wait?: string }) => {
      const server = namedServer(at()) ?? serverOf(at());
      const path = `/v1/nodes/${encodeURIComponent(node)}`;
      let summary = await server.call<NodeSummary>('POST', `${path}/${how}`);
      const until = Date.now() + parseDuration(options.wait ?? '0s');
      while (how === 'drain' && summary.cordoned !== 'drained' && Date.now() < until) {
        await new Promise((resolve) => setTimeout(resolve, 200));
        summary = await server.call<NodeSummary>('GET', path);
      }
      process.stdout.write(`${node}: ${stateOf(summary)}, ${summary.sandboxes.busy} running, ${summary.sandboxes.idle} idle\n`);
    });
  });
}
