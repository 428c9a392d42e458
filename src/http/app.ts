import type { IncomingMessage, ServerResponse } from 'node:http';
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { z } from 'zod';
import { ByteBudget } from '../base/byte-budget.ts';
import type { Clock } from '../base/clock.ts';
import { within } from '../base/deadline.ts';
import { type ErrorCode, errorKinds, KatafleetError, messageOf } from '../model/errors.ts';
import { faultsOf } from '../model/faults.ts';
import { Placing } from '../model/placing.ts';
import type { Profile } from '../model/profile.ts';
import { type ServerMemory, serverMemory } from '../base/server-memory.ts';
import type { NodeSummary } from '../model/node.ts';
import type { Fleet, Keeping } from '../fleet/fleet.ts';
import { machineOf, splitMachine } from '../fleet/node/machines.ts';
import type { Maintenance } from '../fleet/upkeep/maintenance.ts';
import { checkJob, type Job, wantedOf } from '../runs/job.ts';
import { resultJson } from '../model/json.ts';
import { requestOf, RunJson } from '../model/request-json.ts';
import { longJson } from './long-json.ts';
import { type KeptRecord, RunState } from '../model/record.ts';
import type { RunService } from '../runs/service.ts';
import { mediaType, ownBodies, readBodies, readsItself } from './bodies.ts';
import { boundBodies, busy, type Forget } from './body-budget.ts';
import { hostFault, type Hosts } from './hosts.ts';
import { bodyPace, refuseSlowBodies } from './slow-bodies.ts';

/** What the handlers stand on. */
export interface Parts {
  fleet: Fleet;
  runs: RunService;
  maintenance: Maintenance;
  /** A configured profile. @throws limits.invalid for an unknown name */
  profile: (given: string | z.input<typeof Profile> | undefined) => z.input<typeof Profile>;
  /** How long a run waits in the queue where it does not say, ms. */
  queueMs: number;
  idleMemory: number;
  /** `NODE`, or `NODE/MACHINE` for one behind it. */
  cordon: (name: string, how: Keeping) => Promise<void>;
  list: (of: { limit: number; state?: RunState; tenant?: string }) => readonly object[];
  events: (of: { node?: string; limit: number }) => readonly object[];
  counts: () => Record<string, number>;
  stopping: () => boolean;
  /** Answers git's requests for a kata's repositories; false for any other path, which it leaves alone. */
  clones: (path: string, request: IncomingMessage, response: ServerResponse) => Promise<boolean>;
}

export interface AppOptions {
  /** What bodies and results may take; the shares of this process if absent. */
  memory?: Pick<ServerMemory, 'bodies' | 'results'>;
  /** Bytes of the largest request. */
  bodyLimit: number;
  /** By which names it is asked: a web page that has its own name point at us is turned away. */
  hosts: Hosts;
  /** By which bodies are timed. */
  clock?: Clock;
  /** Told of each route that there is. */
  onRoute?: (method: string, path: string) => void;
}

/** Longest that a request may wait for its run, s. */
const longestWait = 600;
const Wait = z.coerce.number().min(0).max(longestWait).default(0);
const RunId = z.object({ id: z.uuid() });
/** A node's name of 63 characters, or with a machine's behind it. */
const NodeName = z.object({ name: z.string().max(200) });

/** The API. Every answer is JSON; errors are `{error: {code, message, fault, retry, hint?}}`. */
export function buildApp(parts: Parts, options: AppOptions): FastifyInstance {
  const app = Fastify({
    bodyLimit: options.bodyLimit,
    forceCloseConnections: 'idle',
    requestTimeout: bodyPace.wholeMs,
    routerOptions: { maxParamLength: 256 },
    frameworkErrors: (error, _request, reply) => void sendError(reply, error),
  });
  refuseSlowBodies(app, readsItself, options.clock);
  readBodies(app);
  app.setErrorHandler((error, _request, reply) => sendError(reply, error));
  app.setNotFoundHandler((request, reply) =>
    sendError(reply, new KatafleetError('request.unknown', `there is no ${request.method} ${request.url.slice(0, 200)}`)),
  );
  app.addHook('onRequest', (request, _reply, done) => done(stranger(request, options.hosts)));
  const { memory = serverMemory() } = options;
  const { bodyLimit } = options;
  const forget = boundBodies(app, { most: Math.max(memory.bodies, bodyLimit), bodyLimit }, readsItself);
  const { onRoute } = options;
  if (onRoute) app.addHook('onRoute', ({ method, path }) => [method].flat().forEach((one) => onRoute(one, path)));
  runRoutes(app, parts, forget, new ByteBudget(memory.results));
  cloneRoutes(app, parts);
  fleetRoutes(app, parts);
  healthRoutes(app, parts);
  return app;
}

/** Why a request is turned away before it is read: what a browser sends for another site's page. */
function stranger({ raw, headers: { origin, host = '' } }: FastifyRequest, hosts: Hosts): KatafleetError | undefined {
  const fault = hostFault(raw, hosts);
  if (fault || origin === undefined || (URL.canParse(origin) && new URL(origin).host === host.toLowerCase())) return fault;
  return new KatafleetError('request.forbidden', `pages of ${origin.slice(0, 200)} may not ask this server`);
}

/** What git asks for a clone; its bodies are git's own and are read by nobody else. */
function cloneRoutes(app: FastifyInstance, { clones }: Parts): void {
  void app.register((scope, _options, done) => {
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser('*', (_request, payload, parsed) => parsed(null, payload));
    scope.route({
      method: ['GET', 'POST'],
      url: '/katas/*',
      ...ownBodies,
      exposeHeadRoute: false,
      handler: async (request, reply) => {
        const [path = ''] = request.url.slice('/katas'.length).split('?', 1);
        if (!(await clones(path, request.raw, reply.raw)))
          throw new KatafleetError('request.unknown', `there is no ${request.method} ${request.url.slice(0, 200)}`);
        reply.hijack();
      },
    });
    done();
  });
}

function runRoutes(app: FastifyInstance, parts: Parts, forget: Forget, answers: ByteBudget): void {
  const { runs } = parts;
  app.post('/v1/runs', async (request, reply) => {
    const json = parse(RunJson, request.body);
    const { wait } = parse(z.object({ wait: Wait }), request.query);
    const key = parse(z.string().min(1).max(255).optional(), request.headers['idempotency-key']);
    const { id, known } = await runs.accept(
      requestOf(json, parts.profile(json.profile)),
      placingOf(json, parts),
      key,
      request.body as object,
    );
    forget(request);
    const record = await waitFor(runs, id, wait, request, (bytes) => roomFor(answers, bytes, reply));
    void reply.header('location', `/v1/runs/${id}`).code(record.endedAt === undefined ? 202 : known ? 200 : 201);
    return sendLong(reply, recordJson(record, runs));
  });
  app.get('/v1/runs', (request) => {
    const query = parse(
      z.object({
        limit: z.coerce.number().int().min(1).max(1_000).default(50),
        state: RunState.optional(),
        tenant: z.string().max(128).optional(),
      }),
      request.query,
    );
    const { limit, state, tenant } = query;
    return { runs: parts.list({ limit, ...(state ? { state } : {}), ...(tenant ? { tenant } : {}) }), counts: parts.counts() };
  });
  app.get('/v1/runs/:id', async (request, reply) => {
    const { wait } = parse(z.object({ wait: Wait }), request.query);
    const { id } = parse(RunId, request.params);
    return sendLong(reply, recordJson(await waitFor(runs, id, wait, request, (bytes) => roomFor(answers, bytes, reply)), runs));
  });
  app.delete('/v1/runs/:id', async (request, reply) =>
    sendLong(reply, recordJson(await runs.cancel(parse(RunId, request.params).id), runs)),
  );
  const verdicts = (job: Job) => parts.fleet.verdicts(wantedOf(job, parts.idleMemory), job.limits);
  app.get('/v1/runs/:id/explain', async (request, reply) => {
    const { id } = parse(RunId, request.params);
    const live = runs.jobOf(id);
    const nodes = live && (await verdicts(live));
    return sendLong(reply, { ...recordJson(runs.look(id), runs), nodes });
  });
  app.post('/v1/explain', async (request) => {
    const json = parse(RunJson, request.body);
    const job = checkJob(requestOf(json, parts.profile(json.profile)), placingOf(json, parts));
    return { nodes: await verdicts(job) };
  });
}

function placingOf(json: RunJson, { queueMs }: Parts): Placing {
  const { tenant, priority, constraints, architecture } = json;
  return Placing.parse({ tenant, priority, constraints, architecture, queueMs: json.queueMs ?? queueMs });
}

/** A result so small is answered at once, bytes. */
const smallResult = 256 * 1024;
/** How long a result waits for its turn, and how long a client may take to read one, ms. */
const [turnMs, readMs] = [30_000, 120_000];

/** Room to make a result JSON, until the client has it. @throws server.busy when there is none in time */
async function roomFor(answers: ByteBudget, bytes: number, reply: FastifyReply): Promise<void> {
  if (bytes <= smallResult) return;
  const room = answers.open();
  const had = await within(turnMs, async () => room.take(bytes)).then(
    () => true,
    () => false, // late
  );
  if (!had || reply.raw.destroyed) {
    room.close();
    throw busy('as many results are on their way to clients as there is memory for');
  }
  const slow = setTimeout(() => reply.raw.destroy(), readMs).unref();
  reply.raw.once('close', () => {
    clearTimeout(slow);
    room.close();
  });
}

/** Waits in vain no longer when the client has gone. */
async function waitFor(
  runs: RunService,
  id: string,
  seconds: number,
  request: FastifyRequest,
  room: (bytes: number) => Promise<void>,
): Promise<KeptRecord> {
  const gone = new AbortController();
  const leave = () => gone.abort();
  request.raw.socket.once('close', leave);
  if (request.raw.socket.destroyed) leave();
  try {
    await runs.ended(id, seconds * 1000, gone.signal);
    await room(runs.resultBytes(id));
    return runs.look(id);
  } finally {
    request.raw.socket.off('close', leave);
  }
}

/** Sends JSON, the large files in it piece by piece as the client reads them. */
const sendLong = (reply: FastifyReply, json: object) => reply.type('application/json; charset=utf-8').send(longJson(json));

function recordJson(record: KeptRecord, runs: RunService): object {
  const { result, ...rest } = record;
  const position = record.state === 'waiting' ? runs.dispatcher.position(record.id) : undefined;
  return { ...rest, ...(position === undefined ? {} : { position }), ...(result ? { result: resultJson(result) } : {}) };
}

function fleetRoutes(app: FastifyInstance, { fleet, maintenance, cordon, events }: Parts): void {
  app.get('/v1/images', () => ({ images: fleet.images() }));
  const summaryOf = async (node: string): Promise<NodeSummary | undefined> => {
    await fleet.node(node).lookAtMachines(1_000);
    return fleet.summaries().find(({ name }) => name === node);
  };
  app.get('/v1/nodes', async () => ({ nodes: await fleet.freshSummaries() }));
  app.get('/v1/nodes/:name', async (request) => {
    const { name } = parse(NodeName, request.params);
    const { node, machine } = splitMachine(name);
    if (machine !== undefined) return machineOf((await summaryOf(node))?.members ?? [], node, machine);
    return { ...(await summaryOf(name)), events: events({ node: name, limit: 50 }) };
  });
  for (const how of ['cordon', 'drain', 'uncordon'] as const) {
    app.post(`/v1/nodes/:name/${how}`, async (request) => {
      const { name } = parse(NodeName, request.params);
      await cordon(name, how);
      return summaryOf(splitMachine(name).node);
    });
  }
  app.get('/v1/events', (request) => ({
    events: events(
      parse(
        z.object({ node: z.string().max(128).optional(), limit: z.coerce.number().int().min(1).max(1_000).default(100) }),
        request.query,
      ) as { limit: number },
    ),
  }));
  app.get('/v1/maintenance', () => ({ jobs: maintenance.states() }));
  app.post('/v1/maintenance/:name', async (request) => {
    const { name } = parse(NodeName, request.params);
    const { dryRun } = parse(z.object({ dryRun: z.stringbool().default(false) }), request.query);
    if (!maintenance.has(name))
      throw new KatafleetError('request.unknown', `no maintenance job "${name}"; there are: ${maintenance.names.join(', ')}`);
    return { job: name, dryRun, detail: await maintenance.run(name, dryRun) };
  });
}

function healthRoutes(app: FastifyInstance, { fleet, runs, stopping }: Parts): void {
  app.get('/health/live', () => ({ live: true }));
  app.get('/health/ready', (_request, reply) => {
    const nodes = { all: fleet.nodes.length, ready: fleet.nodes.filter(({ state }) => state === 'ready').length };
    const ready = nodes.ready > 0 && !stopping();
    void reply.code(ready ? 200 : 503);
    return { ready, nodes, runs: { waiting: runs.dispatcher.waiting, running: runs.dispatcher.running } };
  });
}

function parse<T extends z.ZodType>(schema: T, given: unknown): z.output<T> {
  const parsed = schema.safeParse(given);
  if (parsed.success) return parsed.data;
  throw new KatafleetError('request.invalid', faultsOf(parsed.error));
}

/** Fastify's own complaints: what they are in our table. */
const fastifyCodes: Record<string, ErrorCode> = {
  FST_ERR_CTP_BODY_TOO_LARGE: 'request.too_large',
};

function sendError(reply: FastifyReply, error: unknown): FastifyReply {
  const { statusCode, code } = error as { statusCode?: number; code?: string };
  const { request } = reply;
  const known =
    error instanceof KatafleetError
      ? error
      : statusCode !== undefined && statusCode < 500
        ? code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE'
          ? mediaType(request.headers['content-type'])
          : new KatafleetError(fastifyCodes[code ?? ''] ?? 'request.invalid', messageOf(error))
        : new KatafleetError('internal', 'something went wrong in katafleet; its log says what', { cause: error });
  if (known.code === 'internal') process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : messageOf(error)}\n`);
  if (known.retryAfterMs !== undefined) void reply.header('retry-after', String(Math.ceil(known.retryAfterMs / 1000)));
  const { message, fault, retry, hint, retryAfterMs } = known;
  return reply.code(errorKinds[known.code].http).send({
    error: {
      code: known.code,
      message,
      fault,
      retry,
      ...(hint === undefined ? {} : { hint }),
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    },
  });
}
