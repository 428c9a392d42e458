import { defined } from '../base/defined.ts';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { type ErrorCode, errorKinds, KatafleetError, messageOf } from '../model/errors.ts';
import { mediaType } from './bodies.ts';

/** Codes of katafleet for Fastify's own errors; all others are `request.invalid`. */
const fastifyCodes: Record<string, ErrorCode> = {
  FST_ERR_CTP_BODY_TOO_LARGE: 'request.too_large',
};

/** When a client may try again, ms, if the error itself does not say. */
const usualRetryMs: Partial<Record<ErrorCode, number>> = {
  'service.stopping': 2_000,
  'journal.full': 1_000,
  'journal.unavailable': 1_000,
};

/** Answers with an error. An error that is not katafleet's own becomes `internal`; its stack goes to the log, not to the client. */
export function sendError(reply: FastifyReply, error: unknown): FastifyReply {
  const known = knownError(reply, error);
  if (known.code === 'internal') process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : messageOf(error)}\n`);
  const { message, fault, retry, hint, retryAfterMs = usualRetryMs[known.code] } = known;
  if (retryAfterMs !== undefined) void reply.header('retry-after', String(Math.ceil(retryAfterMs / 1000)));
  return reply.code(errorKinds[known.code].http).send({
    error: {
      code: known.code,
      message,
      fault,
      retry,
      ...defined({ hint, retryAfterMs }),
    },
  });
}

function knownError({ request }: FastifyReply, error: unknown): KatafleetError {
  if (error instanceof KatafleetError) return error;
  const { statusCode, code } = error as { statusCode?: number; code?: string };
  if (statusCode === undefined || statusCode >= 500)
    return new KatafleetError('internal', 'internal error of katafleet; its log has the details', { cause: error });
  if (code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE') return mediaType(request.headers['content-type']);
  return new KatafleetError(fastifyCodes[code ?? ''] ?? 'request.invalid', messageOf(error));
}

/** The error for a request that no route answers. */
export const unknownRoute = ({ method, originalUrl }: Pick<FastifyRequest, 'method' | 'originalUrl'>) =>
  new KatafleetError('request.unknown', `there is no ${method} ${originalUrl.slice(0, 200)}`);
