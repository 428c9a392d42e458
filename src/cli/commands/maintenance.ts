import { Command } from 'commander';
import type { MaintenanceState } from '../../model/maintenance-state.ts';
import { ago } from '../../model/quantity.ts';
import { table } from '../show/table.ts';
import { colours, escapeLine } from '../show/terminal.ts';
import { type At, serverOf } from '../where.ts';

export function maintenanceCommand(at: At): Command {
  const maintenance = new Command('maintenance')
    .description('Shows the maintenance jobs of a running katafleet: schedule, last run, next run.')
    .option('--json', 'print JSON')
    .action(async (options: { json?: boolean }) => {
      const jobs = await serverOf(at()).maintenance();
      process.stdout.write(`${options.json ? JSON.stringify(jobs) : jobsTable(jobs)}\n`);
    });
  maintenance
    .command('run')
    .summary('run a maintenance job now')
    .description('Runs a maintenance job now.')
    .argument('<job>', 'inventory, reap, retention, prune or pools')
    .option('--dry-run', 'change nothing, only print what would be done')
    .action(async (job: string, options: { dryRun?: boolean }) => {
      const detail = await serverOf(at()).maintain(job, options);
      process.stdout.write(`${escapeLine(job)}: ${escapeLine(detail)}\n`);
    });
  return maintenance;
}

export function jobsTable(jobs: readonly MaintenanceState[], now = Date.now()): string {
  const c = colours(process.stdout);
  const rows = jobs.map((job) => [
    job.name,
    job.schedule ?? 'off',
    job.running ? 'running' : (job.outcome ?? 'never'),
    job.startedAt === undefined ? '-' : ago(job.startedAt, now).replace(/^\d.*/, '$& ago'),
    job.next === undefined ? '-' : new Date(job.next).toLocaleTimeString(),
    job.detail ?? job.what,
  ]);
  return table(['JOB', 'SCHEDULE', 'LAST', 'WHEN', 'NEXT', 'WHAT'], rows, (_row, column, cell) =>
    column === 2 && cell === 'failed' ? c.red(cell) : cell,
  );
}
