/** What a word on its way to a node may hold; all else is written %XX. See docs/legacy.md on the gate. */
const plain = /^[A-Za-z0-9_./:=,@+-]$/;

/** A label's value as a word that no shell and no gate has to unquote: bytes of UTF-8 that are not plain become %XX. */
export function encodeValue(value: string): string {
  return Array.from(value, (letter) =>
    plain.test(letter)
      ? letter
      : Array.from(Buffer.from(letter), (byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`).join(''),
  ).join('');
}

/** The value again; one that we did not write may be no such encoding, and stays as it is. */
export function decodeValue(value: string): string {
  try {
    return decodeURIComponent(value);
  } catch {
    return value;
  }
}
