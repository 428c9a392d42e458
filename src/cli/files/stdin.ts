import { createReadStream, fstatSync } from 'node:fs';
import { MiB } from '../../base/units.ts';
import { KatafleetError, messageOf } from '../../model/errors.ts';
import { formatBytes } from '../../model/quantity.ts';

/** What a step's standard input may hold: the protocol's own bound (docs/protocol.md, STDIN). */
const mostBytes = 64 * MiB;
/** After so long without its end, the person is told what is waited for, ms. */
const patienceMs = 2_000;

/**
 * The bytes for a run's first step: of the named file, `-` for our own standard input. Where none is named, our own is
 * taken if it is a pipe or a file, as every filter does; a terminal and a socket are left alone, for nobody knows whether
 * they ever end. @throws file.unreadable, files.too_large
 */
export async function readInput(named: string | undefined, tell: (text: string) => void): Promise<Buffer<ArrayBuffer> | undefined> {
  const own = named === undefined || named === '-';
  if (named === undefined && !isPipeOrFile(0)) return undefined;
  const waiting = own ? setTimeout(() => tell('waiting for the end of the standard input; < /dev/null gives none'), patienceMs) : undefined;
  const parts: Buffer[] = [];
  let size = 0;
  try {
    for await (const part of own ? process.stdin : createReadStream(named)) {
      parts.push(part as Buffer);
      size += (part as Buffer).length;
      if (size > mostBytes) throw new KatafleetError('files.too_large', `the standard input is larger than ${formatBytes(mostBytes)}`);
    }
  } catch (cause) {
    if (cause instanceof KatafleetError) throw cause;
    throw new KatafleetError('file.unreadable', `${own ? 'the standard input' : named} can't be read: ${messageOf(cause)}`, { cause });
  } finally {
    clearTimeout(waiting);
  }
  return Buffer.concat(parts);
}

function isPipeOrFile(descriptor: number): boolean {
  try {
    const found = fstatSync(descriptor);
    return found.isFIFO() || found.isFile();
  } catch {
    return false; // it is closed
  }
}
