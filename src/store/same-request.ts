/**
 * Whether the earlier request of a key was the same. A hash of the oldest journals includes the defaults of that time, which are unknown
 * now: then the same key is enough.
 */
export const isSameRequest = (earlier: Uint8Array, hash: Uint8Array): boolean =>
  earlier.length !== hash.length || Buffer.compare(earlier, hash) === 0;
