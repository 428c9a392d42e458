import { Placing } from '../../model/placing.ts';
import type { RunFailure, RunSummary, UnendedRun } from '../../model/record.ts';
import type { RunRow, UnendedRow } from '../commands.ts';

/** Placings by their JSON: most runs have one of a few, and checking one takes longer than reading its row. */
const placings = new Map<string, Placing>();
const mostPlacings = 1_000;

function placingOf(json: string): Placing {
  let placing = placings.get(json);
  if (!placing) {
    if (placings.size >= mostPlacings) placings.clear();
    placing = Placing.parse(JSON.parse(json));
    placings.set(json, placing);
  }
  return { ...placing, constraints: [...placing.constraints] };
}

export const summaryOf = (row: RunRow): RunSummary => ({
  id: row.id,
  tenant: row.tenant,
  key: row.key ?? undefined,
  image: row.image,
  state: row.state,
  placing: placingOf(row.placing),
  acceptedAt: row.accepted_at,
  endedAt: row.ended_at ?? undefined,
  error: row.error === null ? undefined : (JSON.parse(row.error) as RunFailure),
});

export const unendedOf = ({ id, tenant, placing, accepted_at, bytes, attempt, begun, stopped, abandoned }: UnendedRow): UnendedRun => ({
  id,
  tenant,
  placing: placingOf(placing),
  acceptedAt: accepted_at,
  bytes,
  lastAttempt: attempt,
  tries: begun - stopped,
  abandoned,
  stopped,
});
