import { hashOf } from './codec.ts';

/**
 * The first byte of a hash of a request as the client sent it. Earlier releases stored the bare 32 bytes of a hash of the parsed
 * request.
 */
const sentRequestMark = Buffer.from([2]);

/**
 * Hashes requests as clients sent them, before defaults are filled in: defaults may change before a client repeats a request. Each
 * value is hashed once.
 */
export class RequestHashes {
  readonly #known = new WeakMap<object, Buffer>();

  of(sent: object): Buffer {
    const known = this.#known.get(sent);
    if (known) return known;
    const hash = Buffer.concat([sentRequestMark, hashOf(sent)]);
    this.#known.set(sent, hash);
    return hash;
  }
}

/**
 * Whether the earlier request of a key was the same. A hash of an earlier release includes the defaults of that time, which are unknown
 * now: then the same key is enough.
 */
export const isSameRequest = (earlier: Buffer, hash: Buffer): boolean => earlier.length !== hash.length || earlier.equals(hash);
