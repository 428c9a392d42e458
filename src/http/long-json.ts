import { randomUUID } from 'node:crypto';
import { Readable } from 'node:stream';
import { LongText } from '../model/long-text.ts';

/** Returns a value as JSON: a stream of pieces if there are {@link LongText}s in it, else a text. */
export function longJson(value: object): Readable | string {
  const texts: LongText[] = [];
  const mark = randomUUID(); // no client can guess it
  const json = JSON.stringify(value, (_key, inner: unknown) => {
    if (!(inner instanceof LongText)) return inner;
    texts.push(inner);
    return mark;
  });
  if (texts.length === 0) return json;
  return Readable.from(interleaved(json.split(mark), texts), { objectMode: false });
}

/** Puts each text into its gap. */
async function* interleaved(gaps: string[], texts: LongText[]): AsyncGenerator<string> {
  for (const [at, gap] of gaps.entries()) {
    yield gap;
    const text = texts[at];
    if (text) yield* text.escaped();
  }
}
