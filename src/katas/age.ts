import { placedNs } from '../model/request.ts';
import type { KataFile, KataFiles } from './kata-files.ts';

const nsPerSecond = 1_000_000_000n;
/** The last time stamp that 64 bits of ns hold. */
const latestNs = 2n ** 63n - 1n;

/**
 * Time stamps of the files that a person handed in at `at`, in ms. What tools built in earlier tests lies beside them, and make
 * goes by time stamps. So a file that is new, or whose content is another, is newer than what katafleet kept out of sight, also
 * where its own stamp is older: an earlier version that was put back, a clock that is behind. Its whole second is another one,
 * too, where its size is the same: Python knows a source again by these two. One that came without a stamp is newer than all
 * that was there; where its content is the same, it keeps the stamp that it had.
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

/** Rounded down, before 1970 too. */
const second = (ns: bigint) => (ns - (((ns % nsPerSecond) + nsPerSecond) % nsPerSecond)) / nsPerSecond;
