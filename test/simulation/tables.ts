import { formatBytes, formatDuration } from '../../src/model/quantity.ts';
import { table } from '../bench/report.ts';
import type { Report } from './measures.ts';
import type { Variant } from './policies.ts';

export interface Result {
  variant: Variant;
  report: Report;
}

const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
const ms = (value: number) => (value < 1_000 ? `${value.toFixed(0)} ms` : `${(value / 1_000).toFixed(1)} s`);
const count = (value: number) => value.toLocaleString('en');

/** One variant in full. */
export function reportTable({ variant, report }: Result): string {
  const { waiting, smallWaiting, stretch, booked, idle, fairness } = report;
  return table(
    ['what', variant.name],
    [
      ['runs that ended, each once', count(report.runs)],
      ['of them done, failed with their nodes, too late', [report.done, report.failed, report.expired].map(count).join(', ')],
      ['attempts lost with a node and made again', count(report.retried)],
      ['refused by a full queue, to come back', count(report.refusals)],
      ['waiting: p50, p95, p99', [waiting.p50, waiting.p95, waiting.p99].map(ms).join(', ')],
      ['waiting in small schools: p50, p95, p99', [smallWaiting.p50, smallWaiting.p95, smallWaiting.p99].map(ms).join(', ')],
      ['whole time over the program’s alone: p50, p95, p99', [stretch.p50, stretch.p95, stretch.p99].map((x) => x.toFixed(2)).join(', ')],
      ['leases that found a warm sandbox', percent(report.hits)],
      ['memory booked at most: of a node, of the fleet', `${percent(booked.node)}, ${percent(booked.fleet)}; never overbooked`],
      ['fairness (Jain) while tenants had to wait', fairness === undefined ? 'nobody had to' : fairness.toFixed(3)],
      ['idle sandboxes, mean, and their memory', `${idle.mean.toFixed(0)}, ${formatBytes(Math.round(idle.bytes))}`],
      ['sandboxes made for each run', report.made.toFixed(3)],
      ['lasted', formatDuration(Math.round(report.lastedMs / 1_000) * 1_000)],
    ],
  );
}

/** Variants side by side. */
export function comparison(results: readonly Result[]): string {
  return table(
    [
      'policy',
      'waiting p50, p99',
      'in small schools, p99',
      'stretch p50, p95, p99',
      'warm',
      'fairness',
      'idle, mean',
      'made per run',
      'booked at most',
    ],
    results.map(({ variant, report: { waiting, smallWaiting, stretch, hits, fairness, idle, made, booked } }) => [
      `\`${variant.name}\`: ${variant.what}`,
      `${ms(waiting.p50)}, ${ms(waiting.p99)}`,
      ms(smallWaiting.p99),
      [stretch.p50, stretch.p95, stretch.p99].map((x) => x.toFixed(2)).join(', '),
      percent(hits),
      fairness === undefined ? '–' : fairness.toFixed(3),
      `${idle.mean.toFixed(0)} (${formatBytes(Math.round(idle.bytes))})`,
      made.toFixed(3),
      percent(booked.node),
    ]),
  );
}
