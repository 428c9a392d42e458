import { omittedBytes } from '../../model/output.ts';
import { outcomeFacts, sayOutcome } from '../../model/outcome.ts';
import { formatBytes, formatDuration } from '../../model/quantity.ts';
import type { Changes, RunResult } from '../../model/result.ts';
import { resultJson } from '../../model/json.ts';
import { colours, escapeControls, escapeLine } from './terminal.ts';

/** The changes of a run that are shown. A kata may have omitted more than the run did. */
export type ShownChanges = Omit<Changes, 'omitted'> & { omitted: { path: string; reason: string }[] };

/** Prints a run in a few lines on stderr: light, outcome, timings, changes, and `notes`. */
export function report(
  result: RunResult,
  out: string | undefined,
  changes: ShownChanges = result.changes,
  notes: readonly string[] = [],
): void {
  const c = colours(process.stderr);
  const paint = { red: c.red, amber: c.yellow, green: c.green };
  const { steps, timings } = result;
  const last = steps.at(-1);
  const light = result.light ? `${paint[result.light](`● ${result.light}`)}  ` : '';
  const omitted = steps.reduce((sum, step) => sum + omittedBytes(step, 'stdout') + omittedBytes(step, 'stderr'), 0);
  const cut = omitted > 0 ? `, output cut: ${omitted} bytes left out` : '';
  const handled = outcomeFacts(result.outcome).exitsToo && last?.exitCode !== undefined ? `, the command exited with ${last.exitCode}` : '';
  const sandbox = `${result.warm ? 'warm' : 'cold'} sandbox ${formatDuration(timings.acquireMs)}`;
  const memory = last && last.peakMemory > 0 ? ` · memory ${formatBytes(last.peakMemory)}` : '';
  const cpu = last ? ` · ran ${formatDuration(last.wallMs)} (CPU ${formatDuration(last.userMs + last.systemMs)})${memory}` : '';
  const lines = [
    `${light}${c.bold(escapeLine(sayOutcome(result.outcome)) + handled + cut)}  ${c.dim(`${sandbox}${cpu} · in all ${formatDuration(timings.totalMs)} on ${escapeLine(result.node)}`)}`,
  ];
  const change = (mark: string, path: string, note = '') => lines.push(`  ${mark} ${escapeControls(path)}${c.dim(note)}`);
  for (const file of changes.files)
    change(file.change === 'created' ? c.green('+') : c.yellow('~'), file.path, `  ${formatBytes(file.content.length)}`);
  for (const path of changes.deleted) change(c.red('-'), path);
  for (const { path, reason } of changes.omitted) change(c.dim('!'), path, `  not brought back: ${reason.replaceAll('_', ' ')}`);
  if (changes.omittedCount > changes.omitted.length)
    lines.push(`  … and ${changes.omittedCount - changes.omitted.length} more not brought back`);
  for (const note of notes) lines.push(c.dim(`  ${escapeControls(note)}`));
  if (out !== undefined) lines.push(c.dim(`  written to ${out}`));
  process.stderr.write(`${lines.join('\n')}\n`);
}

/**
 * Returns the result as plain JSON: output as text, with its bytes beside it if it is not text; files in base64; time stamps as decimal
 * ns.
 */
export const asJson = (result: RunResult, changes: ShownChanges = result.changes): object => resultJson({ ...result, changes }, 'base64');
