import type { FastifyInstance } from 'fastify';
import { ownBodies } from '../bodies.ts';
import { unknownRoute } from '../errors.ts';
import type { AppServices } from '../services.ts';

/** `git clone` of katas. The bodies are git's: only git reads them. */
export function cloneRoutes(app: FastifyInstance, { clones }: AppServices): void {
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
        if (!(await clones(path, request.raw, reply.raw))) throw unknownRoute(request);
        reply.hijack();
      },
    });
    done();
  });
}
