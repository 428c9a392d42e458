/** Letters that a word for a node may hold; all others are written %XX. See docs/legacy.md on the gate. */
const plain = /^[A-Za-z0-9_./:=,@+-]$/;

/** Encodes a label's value so that no shell and no gate must unquote it: bytes of UTF-8 that are not plain become %XX. */
export function encodeValue(value: string): string {
  return Array.from(value, (letter) =>
    plain.test(letter)
      ? letter
      : Array.from(Buffer.from(letter), (byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`).join(''),
  ).join('');
}

/** Inverse of {@link encodeValue}; returns the text unchanged if it is not valid percent-encoding. */
export function decodeValue(value: string): string {
  try {
    return decodeURIComponent(value);
  } catch {
    return value;
  }
}
