import { StringDecoder } from 'node:string_decoder';
import type { Pieces } from './result.ts';

/** A text of a JSON document that is never whole in memory; src/http/long-json.ts writes it. */
export class LongText {
  readonly #pieces: Pieces;

  /** The pieces become text if they are UTF-8, else base64. */
  constructor(pieces: Pieces) {
    this.#pieces = pieces;
  }

  /** Returns what stands between the quotes. */
  async *escaped(): AsyncGenerator<string> {
    if (!this.#pieces.utf8) {
      for await (const piece of this.#pieces.read()) yield piece.toString('base64');
      return;
    }
    const decoder = new StringDecoder('utf8'); // a character may be split between two pieces
    for await (const piece of this.#pieces.read()) yield JSON.stringify(decoder.write(piece)).slice(1, -1);
  }
}
