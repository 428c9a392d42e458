import { pipeline } from 'node:stream';
import type { Transform } from 'node:stream';
import { createBrotliDecompress, createGunzip, createInflate } from 'node:zlib';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { KatafleetError } from '../model/errors.ts';

const decoders: Record<string, () => Transform & { bytesWritten: number }> = {
  gzip: createGunzip,
  'x-gzip': createGunzip,
  deflate: createInflate,
  br: createBrotliDecompress,
};

/**
 * Sets how request bodies are read: as JSON, compressed or not, with a size limit after decompression. An empty body counts as absent,
 * whatever its content type is. @throws request.media_type, and Fastify's own errors for invalid JSON
 */
export function readBodies(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  const parse = app.getDefaultJsonParser('error', 'error');
  app.addContentTypeParser<string>('application/json', { parseAs: 'string' }, (request, body, done) => {
    if (body === '') done(null, undefined);
    else void parse(request, body, done);
  });
  // A page of another site may send text/plain and forms without asking the server, so such bodies are refused unread.
  app.addContentTypeParser('*', (request, payload, done) => {
    payload.once('data', () => done(mediaType(request.headers['content-type'])));
    payload.once('end', () => done(null, undefined));
    payload.once('error', done);
  });
  app.addHook('preParsing', (request, _reply, payload, done) => {
    const encoding = request.headers['content-encoding']?.trim().toLowerCase() ?? 'identity';
    if (encoding === 'identity' || readsItself(request)) {
      done(null, payload);
      return;
    }
    const decoder = Object.hasOwn(decoders, encoding) ? decoders[encoding]?.() : undefined;
    if (!decoder) {
      done(new KatafleetError('request.media_type', `expected the content-encoding gzip, deflate, br or none, got ${shown(encoding)}`));
      return;
    }
    // Fastify compares content-length with the bytes that came over the wire.
    Object.defineProperty(decoder, 'receivedEncodedLength', { get: () => decoder.bytesWritten });
    done(
      null,
      pipeline(payload, decoder, () => undefined),
    ); // the reader of the decoder gets its errors
  });
}

/** The config of a route that reads its bodies itself, as they come over the wire. */
export const ownBodies = { config: { ownBodies: true } } as const;
export const readsItself = ({ routeOptions }: FastifyRequest): boolean =>
  (routeOptions.config as { ownBodies?: boolean }).ownBodies === true;

/** The error for a body of a type that the API does not take. */
export function mediaType(type: string | undefined): KatafleetError {
  return new KatafleetError(
    'request.media_type',
    `expected a body of application/json, got ${shown(type ?? 'one without a content type')}`,
    {
      hint: 'send the header content-type: application/json',
    },
  );
}

const shown = (text: string): string => text.slice(0, 100);
