import { MiB } from '../../base/units.ts';
import { KatafleetError } from '../../model/errors.ts';
import type { RunRequest } from '../../model/request.ts';
import { type KeptResult, type Pieces, RunResult } from '../../model/result.ts';
import { youngerFields } from '../../model/younger.ts';
import type { Stored } from '../commands.ts';
import { decode } from '../form/record.ts';
import { piecesIn, piecesOf, readSegment } from './read-segment.ts';

const withYounger = youngerFields(RunResult);
/** Memory for a result as JSON, as a multiple of its near bytes: its bytes twice, base64, the text twice, bytes again. */
const asJson = 8;
/** Bytes of a result's far contents that are in memory at once while they are sent to a client. */
const onTheirWay = 4 * MiB;

export const jsonBytes = ({ near, far }: { near: number; far: number }): number => asJson * near + Math.min(onTheirWay, far);

/** Returns a request as it was. @throws journal.broken; run.unknown when its segment is gone */
export async function requestIn(stored: Stored, folder: string): Promise<RunRequest> {
  const near = await nearOf(stored, folder);
  return decode(near, () => {
    throw new KatafleetError('journal.broken', 'a request has a part that only results have');
  }) as RunRequest;
}

/** Returns a result whose large files are read when they are needed. @throws journal.broken; run.unknown when its segment is gone */
export async function resultIn(stored: Stored, folder: string): Promise<KeptResult> {
  const near = await nearOf(stored, folder);
  const result = decode(near, ({ at, length, utf8 }): Pieces => {
    if ('bytes' in stored) return piecesOf(bufferOf(stored.bytes).subarray(stored.near + at, stored.near + at + length), utf8);
    return piecesIn(folder, { segment: stored.segment, at: stored.at + stored.near + at }, length, utf8);
  });
  return withYounger(result as KeptResult);
}

function nearOf(stored: Stored, folder: string): Buffer | Promise<Buffer> {
  if ('bytes' in stored) return bufferOf(stored.bytes).subarray(0, stored.near);
  return readSegment(folder, stored.segment, stored.at, stored.near);
}

/** A thread gets a Buffer as a Uint8Array. */
const bufferOf = (bytes: Uint8Array) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** Returns the result with all its files in memory. */
export async function whole(result: KeptResult): Promise<RunResult> {
  const files: RunResult['changes']['files'] = [];
  for (const file of result.changes.files) {
    const { content } = file;
    files.push({ ...file, content: Buffer.isBuffer(content) ? content : await gathered(content) });
  }
  return { ...result, changes: { ...result.changes, files } };
}

async function gathered(pieces: Pieces): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(pieces.bytes);
  let at = 0;
  for await (const piece of pieces.read()) at += piece.copy(bytes, at);
  return bytes;
}
