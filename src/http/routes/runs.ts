import { defined } from '../../base/defined.ts';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import type { ByteBudget } from '../../base/byte-budget.ts';
import { resultJson } from '../../model/json.ts';
import { Placing } from '../../model/placing.ts';
import type { KeptRecord } from '../../model/record.ts';
import { requestOf, RunJson } from '../../model/request-json.ts';
import { checkJob, type Job, wantedOf } from '../../runs/job.ts';
import type { RunService } from '../../runs/service.ts';
import type { BodyRooms } from '../body-budget.ts';
import { longJson } from '../long-json.ts';
import { whileConnected } from '../connected.ts';
import { parse } from '../parse.ts';
import { roomFor } from '../result-room.ts';
import type { AppServices } from '../services.ts';
import { leftToTheNext, waitSeconds } from '../waiting.ts';

const Waiting = z.object({ wait: waitSeconds });
const RunId = z.object({ id: z.uuid() });
const Key = z.string().min(1).max(255).optional();

/**
 * Accepts, shows, cancels and explains runs.
 * @param bodies the memory of requests' bodies
 * @param answers memory for the results that are on their way to clients
 */
export function runRoutes(app: FastifyInstance, services: AppServices, bodies: BodyRooms, answers: ByteBudget): void {
  const { runs, fleet } = services;
  app.post('/v1/runs', async (request, reply) => {
    const json = parse(RunJson, request.body);
    const { wait } = parse(Waiting, request.query);
    const key = parse(Key, request.headers['idempotency-key']);
    const asked = requestOf(json, services.profile(json.profile));
    const placing = placingOf(json, services);
    const { id, known, acceptedAt } = await runs.accept(asked, placing, key, request.body as object, bodies.handOver(request));
    bodies.forget(request);
    if (wait === 0 && acceptedAt !== undefined) {
      // All of its record is known here: it need not be read.
      const { tenant } = placing;
      const record: KeptRecord = { id, tenant, key, image: asked.image, state: 'waiting', placing, acceptedAt, attempts: [] };
      return reply.header('location', `/v1/runs/${id}`).code(202).send(recordJson(record, runs));
    }
    const record = await waitFor(runs, id, wait, request, (bytes) => roomFor(answers, bytes, reply));
    void reply.header('location', `/v1/runs/${id}`).code(record.endedAt === undefined ? 202 : known ? 200 : 201);
    return sendLong(reply, recordJson(record, runs));
  });
  app.get('/v1/runs/:id', async (request, reply) => {
    const { wait } = parse(Waiting, request.query);
    const { id } = parse(RunId, request.params);
    const record = await waitFor(runs, id, wait, request, (bytes) => roomFor(answers, bytes, reply));
    if (record.endedAt === undefined && wait > 0 && services.stopping()) throw leftToTheNext();
    return sendLong(reply, recordJson(record, runs));
  });
  app.delete('/v1/runs/:id', async (request, reply) =>
    sendLong(reply, recordJson(await runs.cancel(parse(RunId, request.params).id), runs)),
  );
  const verdicts = (job: Job) => fleet.verdicts(wantedOf(job, services.idleMemory), job.limits);
  app.get('/v1/runs/:id/explain', async (request, reply) => {
    const { id } = parse(RunId, request.params);
    const live = runs.jobOf(id);
    const nodes = live && (await verdicts(live));
    return sendLong(reply, { ...recordJson(await runs.look(id), runs), nodes });
  });
  app.post('/v1/explain', async (request) => {
    const json = parse(RunJson, request.body);
    const job = checkJob(requestOf(json, services.profile(json.profile)), placingOf(json, services));
    return { nodes: await verdicts(job) };
  });
}

function placingOf(json: RunJson, { queueMs }: AppServices): Placing {
  const { tenant, priority, constraints, architecture } = json;
  return Placing.parse({ tenant, priority, constraints, architecture, queueMs: json.queueMs ?? queueMs });
}

/** Waits for the run's end, for `seconds` at most, and stops waiting when the client has closed its connection. */
async function waitFor(
  runs: RunService,
  id: string,
  seconds: number,
  request: FastifyRequest,
  room: (bytes: number) => Promise<void>,
): Promise<KeptRecord> {
  await whileConnected(request, (gone) => runs.ended(id, seconds * 1_000, gone));
  if (!runs.jobOf(id)) await room(await runs.resultBytes(id)); // a run that is under way has no result
  return runs.look(id);
}

/** Sends JSON. Large files in it are read and sent piece by piece, as the client reads them. */
const sendLong = (reply: FastifyReply, json: object) => reply.type('application/json; charset=utf-8').send(longJson(json));

function recordJson(record: KeptRecord, runs: RunService): object {
  const { result, ...rest } = record;
  const position = record.state === 'waiting' ? runs.dispatcher.position(record.id) : undefined;
  return { ...rest, ...defined({ position, result: result && resultJson(result) }) };
}
