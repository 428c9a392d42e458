import { Readable } from 'node:stream';
import type { FastifyInstance, FastifyReply } from 'fastify';
import { z } from 'zod';
import type { ByteBudget } from '../../base/byte-budget.ts';
import { KatafleetError } from '../../model/errors.ts';
import type { KeptRecord } from '../../model/record.ts';
import type { Pieces } from '../../model/result.ts';
import { pathIn } from '../file-url.ts';
import { parse } from '../parse.ts';
import { type ByteRange, rangeOf } from '../range.ts';
import { roomFor } from '../result-room.ts';
import type { AppServices } from '../services.ts';

const FileOfRun = z.object({ id: z.uuid(), '*': z.string().max(8_192) });

/**
 * Sends the files of a result one by one, whole or in part. What is in them was made by the user's code, and so were their names: a
 * browser must neither guess their type nor show them as pages of this server.
 */
export function fileRoutes(app: FastifyInstance, { runs }: AppServices, answers: ByteBudget): void {
  app.get('/v1/runs/:id/files/*', async (request, reply) => {
    const { id, '*': word } = parse(FileOfRun, request.params);
    const path = pathIn(word);
    await roomFor(answers, await runs.resultBytes(id), reply);
    const content = contentOf(await runs.look(id), path);
    const size = Buffer.isBuffer(content) ? content.length : content.bytes;
    const mark = `"${id}"`; // the files of a run never change
    const { range: asked, 'if-range': known = mark } = request.headers;
    const range = known === mark ? rangeOf(asked, size) : undefined;
    if (range === 'none') {
      void reply.header('content-range', `bytes */${size}`);
      throw new KatafleetError('request.range', `the file has ${size} bytes, and none in the range ${String(asked).slice(0, 100)}`);
    }
    void reply
      .type('application/octet-stream')
      .header('x-content-type-options', 'nosniff')
      .header('content-disposition', 'attachment')
      .header('content-security-policy', "default-src 'none'; sandbox")
      .header('accept-ranges', 'bytes')
      .header('etag', mark);
    if (range) void reply.code(206).header('content-range', `bytes ${range.from}-${range.to - 1}/${size}`);
    return sendBytes(reply, content, range ?? { from: 0, to: size });
  });
}

/** @throws request.unknown */
function contentOf({ result, endedAt }: KeptRecord, path: string): Buffer | Pieces {
  const file = result?.changes.files.find((one) => one.path === path);
  if (file) return file.content;
  const why = endedAt === undefined ? 'the run has not ended' : 'no such file came back';
  throw new KatafleetError('request.unknown', `there is no file ${JSON.stringify(path.slice(0, 200))} of this run: ${why}`);
}

function sendBytes(reply: FastifyReply, content: Buffer | Pieces, { from, to }: ByteRange): FastifyReply {
  void reply.header('content-length', to - from);
  if (Buffer.isBuffer(content)) return reply.send(content.subarray(from, to));
  return reply.send(Readable.from(content.read(from, to), { objectMode: false }));
}
