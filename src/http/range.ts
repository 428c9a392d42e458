/** Bytes `from` up to `to`, which is not among them. */
export interface ByteRange {
  from: number;
  to: number;
}

/**
 * Reads a Range header for something of `size` bytes (RFC 9110, 14.2). Undefined: all of it is sent, because there is no header, it is
 * of another unit or not well formed, or it asks for several ranges. `none`: nothing of it is there.
 */
export function rangeOf(header: string | undefined, size: number): ByteRange | 'none' | undefined {
  const [, first = '', last = ''] = /^\s*bytes\s*=\s*(\d{0,15})\s*-\s*(\d{0,15})\s*$/i.exec(header ?? '') ?? [];
  if (first === '' && last === '') return undefined;
  if (first === '') {
    const bytes = Math.min(size, Number(last));
    return bytes === 0 ? 'none' : { from: size - bytes, to: size };
  }
  const from = Number(first);
  const to = last === '' ? size : Math.min(size, Number(last) + 1);
  if (last !== '' && Number(last) < from) return undefined;
  return from >= size ? 'none' : { from, to };
}
