import { randomUUID } from 'node:crypto';
import { Readable } from 'node:stream';
import { StringDecoder } from 'node:string_decoder';
import type { Pieces } from '../model/run.ts';

/** A text in JSON that is never in memory as a whole. */
export class LongText {
  readonly #pieces: Pieces;

  /** As UTF-8 where they are that, else in base64. */
  constructor(pieces: Pieces) {
    this.#pieces = pieces;
  }

  /** What stands between the quotes. */
  *escaped(): Generator<string> {
    if (!this.#pieces.utf8) {
      for (const piece of this.#pieces) yield piece.toString('base64');
      return;
    }
    const decoder = new StringDecoder('utf8'); // a letter may lie across two pieces
    for (const piece of this.#pieces) yield JSON.stringify(decoder.write(piece)).slice(1, -1);
  }
}

/** A value as JSON; piece by piece where there are {@link LongText}s in it. */
export function longJson(value: object): Readable | string {
  const texts: LongText[] = [];
  const mark = randomUUID(); // nobody can have written it
  const json = JSON.stringify(value, (_key, inner: unknown) => {
    if (!(inner instanceof LongText)) return inner;
    texts.push(inner);
    return mark;
  });
  if (texts.length === 0) return json;
  return Readable.from(interleaved(json.split(mark), texts), { objectMode: false });
}

/** The texts in the gaps. */
function* interleaved(gaps: string[], texts: LongText[]): Generator<string> {
  for (const [at, gap] of gaps.entries()) {
    yield gap;
    yield* texts[at]?.escaped() ?? [];
  }
}
