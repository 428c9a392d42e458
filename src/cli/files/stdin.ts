import { createReadStream, fstatSync } from 'node:fs';
import { MiB } from '../../base/units.ts';
import { KatafleetError, messageOf } from '../../model/errors.ts';
import { formatBytes } from '../../model/quantity.ts';

/** Most bytes of a step's standard input: the protocol's bound (docs/protocol.md, STDIN). */
const mostBytes = 64 * MiB;
/** After this time without the end of the input, the user is told what the command waits for (ms). */
const patienceMs = 2_000;

/**
 * Reads the input of a run's first step from the named file, or from our own standard input if it is `-`. If no file is named, our own
 * input is read if it is a pipe or a file, as filters do. A terminal or a socket is not read then, because it may never end.
 * @throws file.unreadable, files.too_large
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
