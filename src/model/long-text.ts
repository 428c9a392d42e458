import { StringDecoder } from 'node:string_decoder';
import type { Pieces } from './result.ts';

/** A text in JSON that is never in memory as a whole; src/http/long-json.ts writes it. */
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
