/** What happened to runs during a storm, as clients, the API and the kernel saw it. Times are of performance.now(), ms. */
export interface History {
  submissions: Submission[];
  /** Every run that the API knows at the end. */
  kept: KeptRun[];
  executions: Execution[];
  /** When katafleet was killed. An attempt that began shortly before may be unknown to its journal. */
  kills: number[];
}

/** A request, sent once or several times with the same key. */
export interface Submission {
  key: string;
  /** A word that only this run's program gets, as a file and as an argument. It prints it, and writes it to a file. */
  nonce: string;
  /** When it was first sent. */
  sentAt: number;
  /** How often it was sent. */
  sent: number;
  /** How often the API refused it, with a status and a code. */
  refused: number;
  /** Every answer that a client read to its end: the run is acknowledged. */
  told: Told[];
}

export interface Told {
  at: number;
  id: string;
  /** What the client was told about the end, if the run had ended. */
  end?: string;
}

export interface KeptRun {
  id: string;
  key: string;
  state: string;
  /** Everything that is told about the end; absent if the run has not ended. */
  end?: string;
  attempts: { number: number; state: string }[];
  /** How its program ended; absent without a result. */
  outcome?: string;
  /** What its program printed, and what came back in its file; absent without a result. */
  printed?: string;
  wrote?: string;
  error?: string;
}

/** A process that had the nonce of a run, seen in /proc. */
export interface Execution {
  nonce: string;
  at: number;
}

/**
 * `lost`: an acknowledged run is not there, or has no end. `doubled`: two runs of one key, two results, or more executions than attempts.
 * `changed`: an end that a client was told is not the end that stands. `wrong`: a result is not that of the run's own program.
 * `unasked`: a request that was never stored was executed. `refused`: a request that was only ever refused is stored. `failed`: a run has
 * an error for its end, though all programs of a storm succeed, and it may wait and be tried again as long as a storm lasts.
 */
export type FindingKind = 'lost' | 'doubled' | 'changed' | 'wrong' | 'unasked' | 'refused' | 'failed';

export interface Finding {
  kind: FindingKind;
  key: string;
  text: string;
}

/** Returns everything that is wrong in a history. */
export function findings({ submissions, kept, executions, kills }: History): Finding[] {
  const byKey = grouped(kept, ({ key }) => key);
  const byId = new Map(kept.map((run) => [run.id, run]));
  const byNonce = grouped(executions, ({ nonce }) => nonce);
  const found: Finding[] = [];
  for (const submission of submissions) {
    const { key, nonce, told } = submission;
    const find = (kind: FindingKind, text: string) => void found.push({ kind, key, text });
    const runs = byKey.get(key) ?? [];
    const executed = byNonce.get(nonce)?.length ?? 0;
    const ids = new Set([...told, ...runs].map(({ id }) => id));
    if (ids.size > 1) find('doubled', `the key has ${ids.size} runs: ${Array.from(ids).join(', ')}`);
    for (const id of new Set(told.map((answer) => answer.id))) {
      const run = byId.get(id);
      if (!run) find('lost', `the run ${id} was acknowledged and is not there`);
      else if (run.end === undefined) find('lost', `the run ${id} was acknowledged, is ${run.state} and does not end`);
    }
    if (runs.length === 0 && told.length === 0 && executed > 0) find('unasked', `it was never stored, and was executed ${executed} times`);
    if (runs.length > 0 && told.length === 0 && submission.refused === submission.sent) find('refused', 'it was refused, and is stored');
    for (const run of runs) {
      checkEnds(told, run, find);
      checkResult(nonce, run, find);
      const unwritten = kills.filter((at) => at >= submission.sentAt).length;
      if (executed > run.attempts.length + unwritten) {
        find('doubled', `it was executed ${executed} times in ${run.attempts.length} attempts`);
      }
    }
  }
  return found;
}

function grouped<T>(all: readonly T[], by: (one: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const one of all) groups.set(by(one), [...(groups.get(by(one)) ?? []), one]);
  return groups;
}

type Find = (kind: FindingKind, text: string) => void;

function checkEnds(told: readonly Told[], run: KeptRun, find: Find): void {
  const ends = told.flatMap(({ end }) => (end === undefined ? [] : [end]));
  for (const end of new Set(ends)) {
    if (end !== run.end) find('changed', `a client was told ${end}; what stands is ${run.end ?? 'no end'}`);
  }
}

function checkResult(nonce: string, run: KeptRun, find: Find): void {
  const accepted = run.attempts.filter(({ state }) => state === 'accepted').length;
  const numbers = run.attempts.map(({ number }) => number);
  if (new Set(numbers).size < numbers.length) find('doubled', `a number of an attempt was used again: ${numbers.join(', ')}`);
  if (run.state !== 'finished') {
    if (accepted > 0) find('doubled', `the run is ${run.state}, and an attempt is accepted`);
    if (run.error !== undefined) find('failed', `the run ${run.id} failed with ${run.error}`);
    return;
  }
  if (run.outcome !== 'exited 0') find('failed', `the program of the run ${run.id} ended with ${run.outcome ?? 'nothing'}`);
  if (accepted !== 1) find('doubled', `${accepted} attempts are accepted`);
  if (accepted === 1 && run.attempts.at(-1)?.state !== 'accepted') find('doubled', 'an attempt began after the accepted one');
  if (run.printed?.split(' ')[0] !== nonce) find('wrong', `expected the output ${nonce}, got ${JSON.stringify(run.printed)}`);
  if (run.wrote !== nonce) find('wrong', `expected ${nonce} in the file, got ${JSON.stringify(run.wrote)}`);
}
