import { decodePath } from '../model/paths.ts';

/** The path of a file in a URL: everything behind `/files/`. */
const url = /^(\/v1\/runs\/[^/?#]{1,64}\/files\/)([^?#]+)/;

/**
 * Puts a file's path into one word that the router takes as it is. The router itself refuses bytes that are not UTF-8, and reads `..`,
 * `//` and `%2F` in its own way.
 */
export function routedUrl(given: string): string {
  return given.replace(url, (_all, before: string, path: string) => before + bytesOf(path).toString('base64url'));
}

/** Returns the path in a word that {@link routedUrl} made, as results have it: see model/paths.ts for names that are not UTF-8. */
export const pathIn = (word: string): string => decodePath(Buffer.from(word, 'base64url'));

/** Returns the bytes of a percent-encoded text. A `%` without two hexadecimal digits stands for itself. */
function bytesOf(text: string): Buffer {
  const parts = text.split(/(%[0-9a-f]{2})/i);
  return Buffer.concat(parts.map((part, at) => (at % 2 === 1 ? Buffer.from(part.slice(1), 'hex') : Buffer.from(part))));
}
