import { defined } from '../../base/defined.ts';
import { readFile } from 'node:fs/promises';
import { text } from 'node:stream/consumers';
import { Command } from 'commander';
import type { z } from 'zod';
import type { Client } from '../../client/client.ts';
import { KatafleetError, messageOf } from '../../model/errors.ts';
import { faultsOf } from '../../model/faults.ts';
import { resultJson } from '../../model/json.ts';
import { Placing } from '../../model/placing.ts';
import { parseBytes } from '../../model/quantity.ts';
import { checkJob, wantedOf } from '../../runs/job.ts';
import { requestOf, RunJson } from '../../model/request-json.ts';
import type { NodeVerdict } from '../../model/verdict.ts';
import { table } from '../show/table.ts';
import { colours, escapeControls, escapeLine } from '../show/terminal.ts';
import { type At, configOf, fleetOf, runningServer, serverOf } from '../where.ts';

interface ExplainFlags {
  image?: string;
  memory?: string;
  cpus?: string;
  constraint?: string[];
  architecture?: string;
  json?: boolean;
}

export function explainCommand(at: At): Command {
  return new Command('explain')
    .description(
      'Prints for each node why it is passed over, or how it ranks. RUN is the id of a run of a running katafleet. SPEC is a file with a run in JSON, as the API takes it, or - for standard input. Without RUN and SPEC, the options describe the run.',
    )
    .argument('[run-or-spec]')
    .option('-i, --image <name>', 'image')
    .option('-m, --memory <size>', 'memory of the sandbox')
    .option('--cpus <number>', 'CPUs')
    .option('--constraint <key==value...>', 'what a label of the node must be; key!=value: what it must not be')
    .option('--architecture <name>', 'amd64 or arm64')
    .option('--json', 'print JSON')
    .action(async (subject: string | undefined, options: ExplainFlags) => {
      const where = at();
      const isRun = subject !== undefined && /^[0-9a-f]{8}-[0-9a-f-]{27}$/.test(subject);
      if (isRun) {
        const run = await serverOf(where).explain(subject);
        if (options.json)
          process.stdout.write(`${JSON.stringify({ ...run, ...(run.result ? { result: resultJson(run.result) } : {}) })}\n`);
        else printRun(run);
        return;
      }
      const spec = subject === undefined ? specOf(options) : await readSpec(subject);
      const server = await runningServer(where);
      let verdicts: NodeVerdict[];
      if (server) {
        verdicts = await server.verdicts(spec as z.input<typeof RunJson>);
      } else {
        const parsed = RunJson.safeParse(spec);
        if (!parsed.success) throw new KatafleetError('request.invalid', faultsOf(parsed.error, 'spec'));
        const { tenant, priority, constraints, architecture, profile } = parsed.data;
        const config = where.endpoint === undefined ? configOf(where) : undefined;
        const fields =
          typeof profile === 'string'
            ? config && Object.hasOwn(config.profiles, profile)
              ? config.profiles[profile]
              : undefined
            : { ...config?.profiles['default'], ...profile };
        if (!fields) throw new KatafleetError('limits.invalid', `no profile "${typeof profile === 'string' ? profile : 'default'}"`);
        const job = checkJob(requestOf(parsed.data, fields), Placing.parse({ tenant, priority, constraints, architecture }));
        await using katafleet = fleetOf(where, config);
        await katafleet.fleet.open();
        verdicts = await katafleet.fleet.verdicts(wantedOf(job, config?.defaults.idleMemory ?? 0), job.limits);
      }
      if (options.json) process.stdout.write(`${JSON.stringify(verdicts)}\n`);
      else process.stdout.write(`${verdictTable(verdicts)}\n`);
      process.exitCode = verdicts.some((verdict) => verdict.kind === 'passes') ? 0 : 1;
    });
}

function specOf({ image, memory, cpus, constraint, architecture }: ExplainFlags): object {
  if (image === undefined)
    throw new KatafleetError('request.invalid', 'nothing to explain: expected the id of a run, a file with a spec, or --image');
  return {
    image,
    command: ['true'],
    profile: defined({
      memory: memory === undefined ? undefined : parseBytes(memory),
      cpus: cpus === undefined ? undefined : Number(cpus),
    }),
    ...defined({ constraints: constraint, architecture }),
  };
}

async function readSpec(file: string): Promise<object> {
  try {
    const json = file === '-' ? await text(process.stdin) : await readFile(file, 'utf8');
    const spec: unknown = JSON.parse(json);
    if (typeof spec !== 'object' || spec === null) throw new Error('expected an object');
    return 'command' in spec || 'steps' in spec ? spec : { ...spec, command: ['true'] };
  } catch (cause) {
    throw new KatafleetError('request.invalid', `${file} is neither the id of a run nor a file with a spec: ${messageOf(cause)}`, {
      cause,
      hint: 'a spec is JSON, such as {"image": "gcc-assert", "constraints": ["zone==a"]}',
    });
  }
}

export function verdictTable(verdicts: readonly NodeVerdict[]): string {
  const c = colours(process.stdout);
  const rows = verdicts.flatMap((verdict) => {
    const row =
      verdict.kind === 'passes'
        ? [verdict.node, verdict.chosen ? 'chosen' : 'fits', verdict.ranks.map(({ rank, detail }) => `${rank}: ${detail}`).join('; ')]
        : [verdict.node, 'passed over', verdict.reasons.map((reason) => reason.text).join('; ')];
    return [row, ...(verdict.troubles ?? []).map((trouble) => ['', 'trouble', trouble])];
  });
  const paint: Record<string, (cell: string) => string> = { chosen: c.green, 'passed over': c.yellow, trouble: c.yellow };
  return table(['NODE', 'VERDICT', 'WHY'], rows, (_row, column, cell) => (column === 1 ? (paint[cell.trim()]?.(cell) ?? cell) : cell));
}

function printRun(run: Awaited<ReturnType<Client['explain']>>): void {
  const lines = [
    `run ${escapeLine(run.id)} of ${escapeLine(run.image)}: ${run.state}${run.position === undefined ? '' : `, ${run.position} in the queue`}`,
  ];
  for (const { number, node, state, reason } of run.attempts) {
    lines.push(`  attempt ${number} on ${escapeLine(node)}: ${state}${reason === undefined ? '' : ` (${escapeControls(reason)})`}`);
  }
  if (run.error) lines.push(`  ${escapeControls(run.error.message)} [${escapeLine(run.error.code)}]`);
  if (run.nodes) lines.push('', verdictTable(run.nodes));
  process.stdout.write(`${lines.join('\n')}\n`);
}
