import { isUtf8 } from 'node:buffer';
import { KiB, MiB } from '../base/units.ts';
import type { KeptResult, Pieces, RunResult } from '../model/result.ts';

/** A file of at least `apartFrom` bytes is stored apart from its result, and so is each file after `mostWithin` bytes of smaller ones. */
const [apartFrom, mostWithin] = [256 * KiB, MiB];
/** Most bytes of a row; a multiple of three, so that each row can be converted to base64 by itself. */
const pieceBytes = 768 * KiB;

/** Replaces a file's content in a result: its rows begin at `first`. */
interface Apart {
  first: number;
  count: number;
  bytes: number;
  utf8: boolean;
}

/** A result as it is stored: large files have rows of their own. */
export type SplitResult = Omit<RunResult, 'changes'> & {
  changes: Omit<RunResult['changes'], 'files'> & {
    files: (Omit<RunResult['changes']['files'][number], 'content'> & { content: Buffer | Apart })[];
  };
};

/** Returns a function that decides for one content after another whether it stays in the result. */
function within(): (content: Buffer) => boolean {
  let bytes = 0;
  return ({ length }) => {
    if (length >= apartFrom || bytes + length > mostWithin) return false;
    bytes += length;
    return true;
  };
}

/**
 * Splits a result from its large files. `pieces` share the files' memory: each copy of a whole result would need that much memory
 * again.
 */
export function split(result: RunResult): { result: SplitResult; pieces: Buffer[] } {
  const pieces: Buffer[] = [];
  const fits = within();
  const files = result.changes.files.map((file) => {
    const { content } = file;
    if (fits(content)) return file;
    const first = pieces.length;
    for (let at = 0; at < content.length; at += pieceBytes) pieces.push(content.subarray(at, at + pieceBytes));
    return { ...file, content: { first, count: pieces.length - first, bytes: content.length, utf8: isUtf8(content) } };
  });
  return { result: { ...result, changes: { ...result.changes, files } }, pieces };
}

/** Returns a result whose large files are read when they are needed. @param piece reads one row */
export function keptResult(result: SplitResult, piece: (number: number) => Buffer): KeptResult {
  const fits = within();
  const files = result.changes.files.map(({ content, ...file }) => {
    if (!Buffer.isBuffer(content)) return { ...file, content: later(content, piece) };
    return { ...file, content: fits(content) ? content : cut(content) };
  });
  return { ...result, changes: { ...result.changes, files } };
}

/** Pieces of this journal, which are also read at once. */
interface RowPieces extends Pieces, Iterable<Buffer> {}

function later({ first, count, bytes, utf8 }: Apart, piece: (number: number) => Buffer): RowPieces {
  return piecesOf(bytes, utf8, function* () {
    for (let number = first; number < first + count; number += 1) yield piece(number);
  });
}

/** Cuts a large file of a result that an older release wrote. */
const cut = (content: Buffer): RowPieces =>
  piecesOf(content.length, isUtf8(content), function* () {
    for (let at = 0; at < content.length; at += pieceBytes) yield content.subarray(at, at + pieceBytes);
  });

function piecesOf(bytes: number, utf8: boolean, all: () => Generator<Buffer>): RowPieces {
  return {
    bytes,
    utf8,
    [Symbol.iterator]: all,
    async *read(from = 0, to = bytes) {
      await Promise.resolve();
      let at = 0;
      for (const piece of all()) {
        const part = piece.subarray(Math.max(0, from - at), Math.max(0, to - at));
        at += piece.length;
        if (part.length > 0) yield part;
        if (at >= to) return;
      }
    },
  };
}

/** Returns the result with all its files in memory. */
export function whole(result: KeptResult): RunResult {
  const files = result.changes.files.map((file) => ({
    ...file,
    content: Buffer.isBuffer(file.content) ? file.content : Buffer.concat([...(file.content as RowPieces)]),
  }));
  return { ...result, changes: { ...result.changes, files } };
}
