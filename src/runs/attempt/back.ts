import { GlobMatcher, type GlobProgram } from '../../model/glob.ts';
import type { Changes } from '../../model/result.ts';
import type { Conversation } from '../../protocol/conversation.ts';
import { ability } from '../../protocol/replies.ts';
import { encodeBack } from '../../protocol/requests.ts';
import type { Job } from '../job.ts';

/**
 * Tells the supervisor which files shall come back, if it can limit them. In a session's sandbox this replaces the limits of the run
 * before. Returns whether it will send only those.
 */
export async function askBack(conversation: Conversation, { back }: Job, session: boolean): Promise<boolean> {
  if (!conversation.can(ability.back)) return false;
  if (back || session) await conversation.queue(encodeBack(back ?? []));
  return back !== undefined;
}

/**
 * Bound on the steps that matching a run's globs against all names of an answer may take: half a second, which blocks all other work. A
 * hostile client controls the globs and the names, and could make it minutes.
 */
const mostSteps = 50_000_000;

/**
 * Returns the wanted part of the changes: an older supervisor sends everything, and no supervisor is trusted. Changes beyond {@link
 * mostSteps} stay unfiltered, which is harmless.
 */
export function wantedOf<T extends Omit<Changes, 'files'> & { files: { path: string }[] }>(
  changes: T,
  program: GlobProgram | undefined,
): T {
  if (!program) return changes;
  const globs = new GlobMatcher(program);
  const fits = (path: string) => globs.steps > mostSteps || globs.fits(path);
  const wanted = <Entry extends { path: string }>(entries: Entry[]) => entries.filter(({ path }) => fits(path));
  const omitted = wanted(changes.omitted);
  return {
    ...changes,
    files: wanted(changes.files),
    folders: wanted(changes.folders),
    deleted: changes.deleted.filter((path) => fits(path)),
    omitted,
    omittedCount: changes.omittedCount - (changes.omitted.length - omitted.length),
  };
}
