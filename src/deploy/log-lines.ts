/** The lines of the engine's log frames: 8 bytes of head, of which the last four are the length. */
export function logLines(bytes: Buffer): string[] {
  let text = '';
  for (let at = 0; at + 8 <= bytes.length;) {
    const length = bytes.readUInt32BE(at + 4);
    text += bytes.toString('utf8', at + 8, at + 8 + length);
    at += 8 + length;
  }
  return text.split('\n').filter((line) => line !== '');
}
