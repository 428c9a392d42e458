import { KatafleetError } from '../model/errors.ts';

/** Versions below this have holes that let a client or a daemon write where it should not, or read memory (fixed up to 3.4.3). */
const least = [3, 4, 3] as const;

/** Returns the version in the output of `rsync --version`, such as `3.4.1+ds1`. @throws rsync.daemon */
export function parseRsyncVersion(said: string): string {
  const version = /^rsync\s+version\s+v?(\d+\.\d+\.\d+\S*)/.exec(said)?.[1];
  if (version === undefined) {
    throw new KatafleetError('rsync.daemon', `expected "rsync version …" of rsync --version, got ${JSON.stringify(said.slice(0, 80))}`);
  }
  return version;
}

/**
 * Refuses versions below the security fixes. A distribution that patches an older version keeps its number, so `accept` names such
 * versions in full, as rsync itself reports them (`3.2.7`, not the package's `3.2.7-1+deb12u4`).
 * @throws rsync.daemon
 */
export function checkRsyncVersion(version: string, accept: readonly string[]): void {
  if (accept.includes(version)) return;
  const match = /^(\d+)\.(\d+)\.(\d+)(pre|dev)?/.exec(version);
  const parts = match ? [match[1], match[2], match[3]].map(Number) : [0, 0, 0];
  const order = parts.map((part, index) => part - (least[index] ?? 0)).find((difference) => difference !== 0) ?? 0;
  if (order > 0 || (order === 0 && match?.[4] === undefined)) return;
  throw new KatafleetError('rsync.daemon', `rsync ${version} is refused: versions below ${least.join('.')} have security holes`, {
    hint: `install a newer one; if the distribution has patched this version, allow it: rsync.accept: ["${version}"]`,
  });
}
