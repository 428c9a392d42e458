import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { KatafleetError, messageOf } from '../../model/errors.ts';
import type { Pieces } from '../../model/result.ts';
import type { RecordPlace } from '../commands.ts';
import { pieceBytes } from '../form/result.ts';

/** Reads bytes of a segment. @throws run.unknown when the segment is gone; journal.broken when it is shorter */
export async function readSegment(folder: string, segment: string, at: number, length: number): Promise<Buffer> {
  const handle = await openSegment(folder, segment);
  try {
    return await filled(handle, segment, at, length);
  } finally {
    await handle.close();
  }
}

/** Returns a part of a record as bytes that are read when they are needed. */
export function piecesIn(folder: string, { segment, at }: Pick<RecordPlace, 'segment' | 'at'>, bytes: number, utf8: boolean): Pieces {
  return {
    bytes,
    utf8,
    async *read(from = 0, to = bytes) {
      const end = Math.min(bytes, to);
      if (from >= end) return;
      const handle = await openSegment(folder, segment);
      try {
        for (let next = from; next < end; next += pieceBytes)
          yield await filled(handle, segment, at + next, Math.min(pieceBytes, end - next));
      } finally {
        await handle.close();
      }
    },
  };
}

/** Returns bytes in memory as pieces. */
export function piecesOf(content: Buffer, utf8: boolean): Pieces {
  return {
    bytes: content.length,
    utf8,
    async *read(from = 0, to = content.length) {
      await Promise.resolve();
      const end = Math.min(content.length, to);
      for (let at = from; at < end; at += pieceBytes) yield content.subarray(at, Math.min(end, at + pieceBytes));
    },
  };
}

async function openSegment(folder: string, segment: string): Promise<FileHandle> {
  try {
    return await open(join(folder, segment), 'r');
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT') throw new KatafleetError('run.unknown', 'the run is forgotten, its files with it', { cause });
    throw new KatafleetError('journal.broken', `the segment ${segment} can't be read: ${messageOf(cause)}`, { cause });
  }
}

async function filled(handle: FileHandle, segment: string, at: number, length: number): Promise<Buffer> {
  const buffer = Buffer.allocUnsafe(length);
  for (let done = 0; done < length;) {
    const { bytesRead } = await handle.read(buffer, done, length - done, at + done);
    if (bytesRead === 0) throw new KatafleetError('journal.broken', `the segment ${segment} ends at byte ${at + done}: a record is cut`);
    done += bytesRead;
  }
  return buffer;
}
