import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { RunAnswer, Service } from './service.ts';

const script = fileURLToPath(new URL('../../scripts/engine', import.meta.url));
const engine = (verb: 'up' | 'kill', folder: string) => promisify(execFile)(script, [verb, folder]);

/** How a restart ends the engine: as systemctl restart does, and as a crash does. */
export type Manner = 'SIGTERM' | 'SIGKILL';

/** Ends the private engine of a folder and starts it again. Resolves when it answers, with the times of its absence, Unix ms. */
export async function restartEngine(folder: string, manner: Manner): Promise<{ from: number; until: number }> {
  const from = Date.now();
  if (manner === 'SIGKILL') await engine('kill', folder);
  else {
    const pid = Number(await readFile(join(folder, 'docker.pid'), 'utf8'));
    process.kill(pid, 'SIGTERM');
    while (alive(pid)) await sleep(20);
  }
  await engine('up', folder);
  return { from, until: Date.now() };
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** How long each run takes by itself, ms, in turn. Some are short, some are long, some get files. */
const lengths = [50, 400, 1_500, 100, 3_000, 200];

/** A run during restarts, whether it succeeded or not. */
export interface Survivor {
  index: number;
  lengthMs: number;
  answer: RunAnswer;
}

export interface Storm {
  folder: string;
  service: Service;
  restarts: number;
  clients: number;
  /** Called after each restart. */
  told?: (line: string) => void;
}

export interface StormResult {
  runs: Survivor[];
  failed: Survivor[];
  /** For each run that a restart hit: the end's delay beyond the engine's last return and the run's own length, ms. */
  late: number[];
  /** The runs with the longest delays. */
  latest: Survivor[];
  awayMs: number[];
  /** How many attempts were lost, by their reason. */
  reasons: Map<string, number>;
}

/** Clients ask for one run after another while the engine restarts again and again, at any moment of a run. */
export async function restartStorm({ folder, service, restarts, clients, told }: Storm): Promise<StormResult> {
  const runs: Survivor[] = [];
  let [next, over] = [0, false];
  const client = async () => {
    while (!over) {
      const index = (next += 1);
      const lengthMs = lengths[index % lengths.length] ?? 0;
      const answer = await service.run({
        image: 'build-essential',
        profile: 'small',
        files: { 'in.txt': 'x'.repeat(index % 3 === 0 ? 200_000 : 10) },
        command: ['bash', '-c', `sleep ${lengthMs / 1000}; wc -c < in.txt`],
      });
      runs.push({ index, lengthMs, answer });
    }
  };
  const asking = Array.from({ length: clients }, client);
  const windows: { from: number; until: number }[] = [];
  for (let restart = 0; restart < restarts; restart += 1) {
    await sleep(500 + ((restart * 7919) % 3_500)); // hits runs at any moment
    const window = await restartEngine(folder, restart % 2 === 0 ? 'SIGTERM' : 'SIGKILL');
    windows.push(window);
    const bad = runs.filter(isBad).length;
    told?.(`restart ${restart + 1}: away for ${window.until - window.from} ms; ${runs.length} runs over, ${bad} of them failed`);
    const before = runs.length;
    while (runs.length < before + clients) await sleep(50); // hits a run once, not again and again
  }
  over = true;
  await Promise.all(asking);
  const met = runs.flatMap((run) => {
    const { acceptedAt, endedAt = Infinity } = run.answer;
    const last = windows.findLast(({ from, until }) => acceptedAt < until && endedAt > from);
    return last ? [{ run, late: Math.max(0, endedAt - Math.max(last.until, acceptedAt) - run.lengthMs) }] : [];
  });
  const late = met.map((one) => one.late);
  const latest = met
    .toSorted((a, b) => b.late - a.late)
    .slice(0, 3)
    .map(({ run }) => run);
  const reasons = new Map<string, number>();
  for (const { answer } of runs) {
    for (const { state, reason = '' } of answer.attempts)
      if (state === 'lost') reasons.set(kind(reason), (reasons.get(kind(reason)) ?? 0) + 1);
  }
  return { runs, failed: runs.filter(isBad), late, latest, awayMs: windows.map(({ from, until }) => until - from), reasons };
}

const isBad = ({ answer: { state, result } }: Survivor) =>
  state !== 'finished' || result?.outcome.kind !== 'exited' || result.outcome.code !== 0;

const kind = (reason: string) =>
  reason
    .replace(/[0-9a-f]{12,}/g, '…')
    .replace(/\/\S+/g, '…')
    .slice(0, 110);

export function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0;
}

/** Why each failed run failed, as text. */
export const failures = ({ failed }: StormResult): string =>
  failed.map(({ index, answer }) => `run ${index}: ${JSON.stringify({ ...answer, result: answer.result?.outcome })}`).join('\n');

/** The folder of the engine that the tests may restart. */
export function engineFolder(): string {
  const folder = process.env['KATAFLEET_TEST_ENGINE'];
  assert.ok(folder, 'KATAFLEET_TEST_ENGINE must name the folder of an engine that may be restarted; scripts/test sees to it');
  return folder;
}

/** A service with that engine as its only node. */
export const stormConfig = (folder: string) => ({
  nodes: [{ name: 'one', endpoint: `unix://${join(folder, 'docker.sock')}` }],
  profiles: { small: { memory: '64m' } },
  pools: [{ image: 'build-essential', profile: 'small', idle: { min: 2, max: 4 } }],
  reaping: { grace: '2s' },
});
