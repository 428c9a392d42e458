import { defined } from '../../base/defined.ts';
import { setTimeout as wait } from 'node:timers/promises';
import { Command, InvalidArgumentError } from 'commander';
import { formatBytes } from '../../model/quantity.ts';
import type { Delivery } from '../../images/deliver.ts';
import type { PlannedStep } from '../../images/distribute.ts';
import { table } from '../show/table.ts';
import { TransferView } from '../show/transfers.ts';
import { type At, fleetOf } from '../where.ts';

const mostParallel = 64;
const attempts = 3;
/** Pause before the second attempt (ms); it is twice that before the third. */
const pauseMs = 1_000;
/** Exit code if an image could not be copied to a node and there is no more precise error. */
const unable = 69;

interface DistributeFlags {
  to?: string[];
  parallel: number;
  dryRun?: boolean;
  json?: boolean;
}

export function distributeCommand(at: At): Command {
  return new Command('distribute')
    .summary('copy images to the nodes that lack them')
    .description(
      "Copies the named images, or all of katafleet's, from nodes that have them to nodes that lack them, and checks that each node has them afterwards. " +
        'A copy that breaks off is tried three times in all. Exits with 0 if every node has its images.',
    )
    .argument('[name...]', 'images, as katafleet images shows them')
    .option('--to <node...>', 'only to these nodes')
    .option('--parallel <n>', 'number of nodes that receive images at the same time', parallel, 4)
    .option('--dry-run', 'copy nothing, only print what would be copied')
    .option('--json', 'print JSON')
    .action(async (names: string[], _options: object, command: Command) => {
      const options = command.optsWithGlobals<DistributeFlags>();
      await using fleet = fleetOf(at());
      const plan = await fleet.planDistribution({ images: names, to: options.to ?? [] });
      const sizes = plan.flatMap((step) => (step.kind === 'bring' ? [[step.image, step.bytes] as const] : []));
      const view = new TransferView(process.stdout, new Map(sizes));
      if (!options.json && (options.dryRun || plan.some(({ kind }) => kind !== 'bring')))
        process.stdout.write(`${planTable(plan, options.dryRun ?? false)}\n`);
      const deliveries = options.dryRun
        ? []
        : await fleet.distribute(plan, {
            parallel: options.parallel,
            attempts,
            pause: (attempt) => wait(pauseMs * attempt),
            ...(options.json ? {} : { onEvent: (event) => view.tell(event) }),
          });
      if (options.json) process.stdout.write(`${JSON.stringify(report(plan, deliveries))}\n`);
      process.exitCode = exitOf(plan, deliveries);
    });
}

function parallel(text: string): number {
  const number = Number(text);
  if (!Number.isInteger(number) || number < 1 || number > mostParallel)
    throw new InvalidArgumentError(`expected a whole number from 1 to ${mostParallel}`);
  return number;
}

/** Returns the exit code of the first failure, else that of a node that could not be tried, else 0. */
export function exitOf(plan: readonly PlannedStep[], deliveries: readonly Delivery[]): number {
  const failed = deliveries.find((delivery) => delivery.kind === 'failed');
  return failed ? failed.error.exitCode : plan.some(({ kind }) => kind === 'unable') ? unable : 0;
}

/** Returns the plan with the result of each step that was carried out. */
export function report(plan: readonly PlannedStep[], deliveries: readonly Delivery[]): object[] {
  return plan.map((step) => {
    const delivery = deliveries.find(({ image, node }) => image === step.image && node === step.node);
    if (delivery?.kind !== 'failed') return { ...step, ...delivery };
    const { code, message, hint } = delivery.error;
    return { ...step, kind: delivery.kind, error: defined({ code, message, hint }) };
  });
}

function planTable(plan: readonly PlannedStep[], all: boolean): string {
  const shown = all ? plan : plan.filter(({ kind }) => kind !== 'bring');
  if (shown.length === 0) return 'there is nothing to copy';
  const rows = shown.map((step) => [
    step.image,
    step.node,
    step.kind === 'bring' ? `${step.bytes > 0 ? `${formatBytes(step.bytes)} ` : ''}from ${step.from.join(' or ')}` : `no: ${step.why}`,
  ]);
  return table(['IMAGE', 'NODE', 'WHAT'], rows);
}
