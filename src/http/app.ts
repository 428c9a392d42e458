import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify';
import type { ByteBudget } from '../base/byte-budget.ts';
import type { Clock } from '../base/clock.ts';
import { budgetOf, serverMemory } from '../base/server-memory.ts';
import { KatafleetError } from '../model/errors.ts';
import { readBodies, readsItself } from './bodies.ts';
import { type BodyMemory, boundBodies } from './body-budget.ts';
import { sendError, unknownRoute } from './errors.ts';
import { routedUrl } from './file-url.ts';
import { hostFault, type Hosts } from './hosts.ts';
import { cloneRoutes } from './routes/clones.ts';
import { eventRoutes } from './routes/events.ts';
import { fileRoutes } from './routes/files.ts';
import { healthRoutes } from './routes/health.ts';
import { maintenanceRoutes } from './routes/maintenance.ts';
import { nodeRoutes } from './routes/nodes.ts';
import { runRoutes } from './routes/runs.ts';
import type { AppServices } from './services.ts';
import { bodyPace, refuseSlowBodies } from './slow-bodies.ts';
import { viewRoutes } from './views.ts';

export interface AppOptions {
  /** Memory for requests and for answers; if absent, the API has a budget of this process's memory to itself. */
  memory?: BodyMemory & {
    /** Results that are on their way to clients. */
    answers: ByteBudget;
  };
  /** Bytes of the largest request. */
  bodyLimit: number;
  /** The server's own names. A web page whose own name points at this server is refused. */
  hosts: Hosts;
  /** Times the bodies. */
  clock?: Clock;
  /** How long clients may still read their answers when the server closes, ms; 5,000 if absent. */
  leaveMs?: number;
  /** Called for each route. */
  onRoute?: (method: string, path: string) => void;
}

/** Makes the API. Every answer is JSON; errors are `{error: {code, message, fault, retry, hint?, retryAfterMs?}}`. */
export function buildApp(services: AppServices, options: AppOptions): FastifyInstance {
  const { bodyLimit, onRoute, leaveMs = 5_000, memory = budgetOf(serverMemory(), { bodyLimit }) } = options;
  const app = Fastify({
    bodyLimit,
    forceCloseConnections: 'idle',
    requestTimeout: bodyPace.wholeMs,
    rewriteUrl: ({ url = '/' }) => routedUrl(url),
    routerOptions: { maxParamLength: 256 },
    frameworkErrors: (error, _request, reply) => void sendError(reply, error),
  });
  app.addHook('preClose', (done) => {
    // A client that does not read its answer must not keep the process from ending.
    const late = setTimeout(() => app.server.closeAllConnections(), leaveMs);
    app.server.once('close', () => clearTimeout(late));
    done();
  });
  refuseSlowBodies(app, readsItself, options.clock);
  readBodies(app);
  app.setErrorHandler((error, _request, reply) => sendError(reply, error));
  app.setNotFoundHandler((request, reply) => sendError(reply, unknownRoute(request)));
  app.addHook('onRequest', (request, _reply, done) => done(foreignFault(request, options.hosts)));
  const bodies = boundBodies(app, { memory, bodyLimit }, readsItself);
  if (onRoute) app.addHook('onRoute', ({ method, path }) => [method].flat().forEach((one) => onRoute(one, path)));
  viewRoutes(app, services);
  runRoutes(app, services, bodies, memory.answers);
  fileRoutes(app, services, memory.answers);
  eventRoutes(app, services, memory.answers);
  cloneRoutes(app, services);
  nodeRoutes(app, services);
  maintenanceRoutes(app, services);
  healthRoutes(app, services);
  return app;
}

/** The error for a request that a browser sends on behalf of another site's page. The request is refused before it is read. */
function foreignFault({ raw, headers: { origin, host = '' } }: FastifyRequest, hosts: Hosts): KatafleetError | undefined {
  const fault = hostFault(raw, hosts);
  if (fault || origin === undefined || (URL.canParse(origin) && new URL(origin).host === host.toLowerCase())) return fault;
  return new KatafleetError('request.forbidden', `pages of ${origin.slice(0, 200)} may not call this server`);
}
