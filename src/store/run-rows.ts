import { Placing } from '../model/placing.ts';
import type { AttemptRecord, RunState, RunSummary } from '../model/record.ts';

/** A row of the table `runs`. */
export interface RunRow {
  id: string;
  sequence: number;
  tenant: string;
  key: string | null;
  hash: Buffer;
  image: string;
  placing: string;
  state: RunState;
  attempt: number;
  accepted_at: number;
  ended_at: number | null;
  error: string | null;
}

/** A row of the table `attempts`. */
export interface AttemptRow {
  number: number;
  node: string;
  warm: number | null;
  resumed: number;
  started_at: number;
  ended_at: number | null;
  state: AttemptRecord['state'];
  reason: string | null;
}

export function summaryOf(row: RunRow): RunSummary {
  return {
    id: row.id,
    tenant: row.tenant,
    key: row.key ?? undefined,
    image: row.image,
    state: row.state,
    placing: Placing.parse(JSON.parse(row.placing)),
    acceptedAt: row.accepted_at,
    endedAt: row.ended_at ?? undefined,
    error: row.error === null ? undefined : (JSON.parse(row.error) as { code: string; message: string; hint?: string }),
  };
}

export const attemptOf = ({ number, node, warm, resumed, started_at, ended_at, state, reason }: AttemptRow): AttemptRecord => ({
  number,
  node,
  warm: warm === null ? undefined : warm === 1,
  resumed: resumed === 1,
  startedAt: started_at,
  endedAt: ended_at ?? undefined,
  state,
  reason: reason ?? undefined,
});
