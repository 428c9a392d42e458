import type { FastifyInstance } from 'fastify';
import { type ViewAnswer, type ViewPath, type ViewQuery, views } from '../model/views.ts';
import { parse } from './parse.ts';
import type { AppServices } from './services.ts';

type Handler<P extends ViewPath> = (services: AppServices, query: ViewQuery<P>) => ViewAnswer<P> | Promise<ViewAnswer<P>>;

/** The code of each view: the compiler asks for one for each path of src/model/views.ts. */
const handlers: { readonly [P in ViewPath]: Handler<P> } = {
  '/v1/runs': async ({ journal }, query) => {
    const given = Object.fromEntries(Object.entries(query).filter(([, value]) => value !== '')) as typeof query; // `tenant=` means any
    return { ...(await journal.list(given)), counts: await journal.counts() };
  },
  '/v1/images': ({ fleet }) => ({ images: fleet.images() }),
  '/v1/nodes': async ({ fleet }) => ({ nodes: await fleet.freshNodes() }),
  '/v1/events': async ({ journal }, query) => ({ events: await journal.events(query) }),
  '/v1/maintenance': async ({ maintenance }) => ({ jobs: await maintenance.states() }),
};

export function viewRoutes(app: FastifyInstance, services: AppServices): void {
  for (const path of Object.keys(views) as ViewPath[]) {
    const handler = handlers[path] as Handler<ViewPath>;
    app.get(path, (request) => handler(services, parse(views[path].query, request.query)));
  }
}
