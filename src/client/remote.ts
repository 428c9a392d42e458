import type { z } from 'zod';
import { type ErrorCode, errorKinds, KatafleetError } from '../model/errors.ts';
import { faultsOf } from '../model/faults.ts';
import { RecordJson } from '../model/json.ts';
import { shownOutput } from '../model/output.ts';
import type { RunOptions } from '../model/request.ts';
import { type RemoteRequest, requestJson } from '../model/request-json.ts';
import type { RunResult } from '../model/result.ts';
import type { ServerClient } from './client.ts';

/** How long one call waits for the run, s; below the client's own patience. */
const waitSeconds = 20;

/** One run on a katafleet that serves, with the files whole; its output comes at the end. @throws what a run here would throw */
export async function runThere(server: ServerClient, request: RemoteRequest, { signal, onOutput }: RunOptions = {}): Promise<RunResult> {
  signal?.throwIfAborted();
  const path = (id: string) => `/v1/runs/${id}`;
  const ask = async (method: 'GET' | 'POST', at: string, body?: object) => answerOf(await server.call<unknown>(method, at, body));
  let run = await ask('POST', `/v1/runs?wait=${signal ? 0 : waitSeconds}`, await requestJson(request));
  const cancel = () => void server.call('DELETE', path(run.id)).catch(() => undefined); // the next look tells how it ended
  if (signal?.aborted) cancel(); // while it was being accepted
  signal?.addEventListener('abort', cancel, { once: true });
  try {
    while (run.endedAt === undefined) run = await ask('GET', `${path(run.id)}?wait=${waitSeconds}`);
  } finally {
    signal?.removeEventListener('abort', cancel);
  }
  if (!run.result) throw failureOf(run);
  const { result } = run;
  for (const [index, step] of result.steps.entries()) {
    for (const stream of ['stdout', 'stderr'] as const) {
      const bytes = shownOutput(step, stream);
      if (bytes.length > 0) await onOutput?.(index, stream, bytes);
    }
  }
  return result;
}

/** What a run that is waited for is asked about; the rest of its record is not looked at. */
const RunAnswer = RecordJson.pick({ id: true, state: true, endedAt: true, result: true, error: true });
type RunAnswer = z.output<typeof RunAnswer>;

/** @throws server.unreachable for what is no run of this API */
function answerOf(answer: unknown): RunAnswer {
  const parsed = RunAnswer.safeParse(answer);
  if (parsed.success) return parsed.data;
  throw new KatafleetError(
    'server.unreachable',
    `what answers is no katafleet that this one understands: ${faultsOf(parsed.error, 'run')}`,
    {
      cause: parsed.error,
    },
  );
}

function failureOf({ id, state, error }: RunAnswer): KatafleetError {
  if (!error) return new KatafleetError('run.cancelled', `the run ${id} is ${state}`);
  const code = error.code in errorKinds ? (error.code as ErrorCode) : 'internal';
  return new KatafleetError(code, error.message, error.hint === undefined ? {} : { hint: error.hint });
}
