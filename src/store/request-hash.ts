import { hashOf } from './codec.ts';

/**
 * The first byte of a hash over what a client said. Earlier releases wrote the bare 32 bytes of a hash over the request as it was
 * understood.
 */
const overWhatWasSaid = Buffer.from([2]);

/** Hashes over what clients said, before any default: the defaults may be others by the time a client asks again. Once for each value. */
export class RequestHashes {
  readonly #known = new WeakMap<object, Buffer>();

  of(said: object): Buffer {
    const known = this.#known.get(said);
    if (known) return known;
    const hash = Buffer.concat([overWhatWasSaid, hashOf(said)]);
    this.#known.set(said, hash);
    return hash;
  }
}

/**
 * Whether a key's earlier request was the same. A hash of an earlier release is over the request with its defaults, which are not
 * known any more: then the key's word is enough.
 */
export const isSameRequest = (earlier: Buffer, hash: Buffer): boolean => earlier.length !== hash.length || earlier.equals(hash);
