import { isUtf8 } from 'node:buffer';
import { setImmediate } from 'node:timers/promises';
import { KiB, MiB } from '../../base/units.ts';
import { unfinishedLetter } from '../../model/output.ts';

/** Requests and results of at most this many bytes lie in the database's row, larger ones in a segment. */
export const mostInRow = 16 * KiB;

/** A file of at least `farFrom` bytes is far in its result, and so is each file after `mostNear` bytes of smaller ones. */
const [farFrom, mostNear] = [256 * KiB, MiB];
/** Most bytes of a piece; a multiple of three, so that each piece can be converted to base64 by itself. */
export const pieceBytes = 768 * KiB;

/** Bytes that are looked at in one turn of the event loop. */
const lookedAtOnce = 4 * MiB;

/** Tells whether a content is far, and then whether it is text. */
type IsFar = (content: Uint8Array) => { utf8: boolean } | undefined;

/** Returns the contents that are far. Only those of files are: printed output is always read with its result. */
function farOf(files: readonly { content: unknown }[]): Set<Uint8Array> {
  const far = new Set<Uint8Array>();
  let near = 0;
  for (const { content } of files) {
    if (!(content instanceof Uint8Array)) continue;
    if (content.length >= farFrom || near + content.length > mostNear) far.add(content);
    else near += content.length;
  }
  return far;
}

export function farContents(files: readonly { content: unknown }[]): IsFar {
  const far = farOf(files);
  return (content) => (far.has(content) ? { utf8: isUtf8(content) } : undefined);
}

/** As {@link farContents}, but looks at a little in each turn of the event loop. */
export async function farContentsLater(files: readonly { content: unknown }[]): Promise<IsFar> {
  const far = new Map<Uint8Array, { utf8: boolean }>();
  for (const content of farOf(files)) far.set(content, { utf8: await isText(content) });
  return (content) => far.get(content);
}

async function isText(content: Uint8Array): Promise<boolean> {
  for (let at = 0; at < content.length;) {
    let part = content.subarray(at, at + lookedAtOnce);
    if (at + part.length < content.length) part = part.subarray(0, part.length - unfinishedLetter(part));
    if (!isUtf8(part)) return false;
    at += part.length;
    if (at < content.length) await setImmediate();
  }
  return true;
}
