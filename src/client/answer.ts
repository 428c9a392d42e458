import { KatafleetError } from '../model/errors.ts';
import { formatBytes } from '../model/quantity.ts';

/** What a server answered, unread. */
export interface Answer {
  status: number;
  ok: boolean;
  bytes: Buffer;
  retryAfter: string | null;
}

/**
 * Reads an answer, `most` bytes of it at most. `alive` is called with each piece that comes.
 * @throws answer.too_large
 */
export async function readAnswer(response: Response, most: number, alive: () => void): Promise<Answer> {
  const parts: Uint8Array[] = [];
  let size = 0;
  const reader = response.body?.getReader();
  for (let next = await reader?.read(); next && !next.done; next = await reader?.read()) {
    alive();
    const part = next.value as Uint8Array;
    size += part.length;
    if (size > most) {
      void reader?.cancel().catch(() => undefined);
      throw new KatafleetError('answer.too_large', `the server answers with more than ${formatBytes(most)}`, {
        hint: 'let fewer files come back (--back), or fetch them one by one',
      });
    }
    parts.push(part);
  }
  const { status, ok, headers } = response;
  return { status, ok, bytes: Buffer.concat(parts), retryAfter: headers.get('retry-after') };
}
