import { placedNs } from '../model/request.ts';
import type { KataFile, KataFiles } from './kata-files.ts';

const nsPerSecond = 1_000_000_000n;
/** The last time stamp that 64 bits of ns can hold. */
const latestNs = 2n ** 63n - 1n;

/**
 * Returns a function that sets the time stamps of files submitted at `at` (ms). Files built by earlier tests lie beside them, and make
 * compares time stamps. So a file that is new or has changed gets a stamp newer than the hidden files, even if its own stamp is older
 * (an earlier version was restored, or a clock is slow). If its size stays the same, the whole second changes too, because Python
 * recognizes a source by size and second. A changed file without a stamp gets one newer than all files; an unchanged one keeps its
 * stamp.
 */
export function ageOf(
  before: KataFiles,
  at: number,
): (file: { oid: string; size: number; mtimeNs: bigint | undefined }, old: KataFile | undefined) => bigint {
  const newest = { all: newestOf(before, () => true), hidden: newestOf(before, ({ hidden }) => hidden) };
  const now = BigInt(Math.floor(at)) * 1_000_000n;
  return ({ oid, size, mtimeNs }, old) => {
    if (old?.oid === oid) return mtimeNs ?? old.mtimeNs;
    const own = mtimeNs ?? placedNs(at);
    const built = mtimeNs === undefined ? newest.all : newest.hidden;
    if (built === undefined) return own;
    const stamp = own > built ? own : now > built ? now : built + 1n;
    const another = old?.size === size && second(stamp) === second(old.mtimeNs) ? (second(stamp) + 1n) * nsPerSecond : stamp;
    return another > latestNs ? latestNs : another;
  };
}

function newestOf({ files }: KataFiles, counts: (file: KataFile) => boolean): bigint | undefined {
  let newest: bigint | undefined;
  for (const file of files.values()) if (counts(file) && (newest === undefined || file.mtimeNs > newest)) newest = file.mtimeNs;
  return newest;
}

/** Rounds down to a whole second, before 1970 too. */
const second = (ns: bigint) => (ns - (((ns % nsPerSecond) + nsPerSecond) % nsPerSecond)) / nsPerSecond;
