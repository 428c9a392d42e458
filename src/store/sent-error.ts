import { type ErrorCode, errorKinds, KatafleetError, messageOf } from '../model/errors.ts';
import type { SentError } from './commands.ts';

/** Returns an error as it is sent from thread to thread. */
export function sentError(error: unknown): SentError {
  if (error instanceof KatafleetError) return { code: error.code, message: error.message, hint: error.hint };
  const { code } = (error ?? {}) as { code?: unknown };
  const damaged = typeof code === 'string' && /^SQLITE_(CORRUPT|NOTADB)/.test(code);
  return { code: damaged ? 'journal.broken' : 'internal', message: messageOf(error) };
}

export function receivedError({ code, message, hint }: SentError): KatafleetError {
  const known = Object.hasOwn(errorKinds, code) ? (code as ErrorCode) : 'internal';
  return new KatafleetError(known, message, hint === undefined ? {} : { hint });
}
