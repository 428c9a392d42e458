/** Returns the lines in frames of the engine's log. A frame has a head of 8 bytes; the last four are its length. */
export function logLines(bytes: Buffer): string[] {
  let text = '';
  for (let at = 0; at + 8 <= bytes.length;) {
    const length = bytes.readUInt32BE(at + 4);
    text += bytes.toString('utf8', at + 8, at + 8 + length);
    at += 8 + length;
  }
  return text.split('\n').filter((line) => line !== '');
}
