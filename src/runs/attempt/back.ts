import { GlobMatcher, type GlobProgram } from '../../model/glob.ts';
import type { Changes } from '../../model/result.ts';
import type { Conversation } from '../../protocol/conversation.ts';
import { ability } from '../../protocol/replies.ts';
import { encodeBack } from '../../protocol/requests.ts';
import type { Job } from '../job.ts';

/**
 * Tells the supervisor what shall come back, where it understands. In a session's sandbox it forgets so what the run before
 * wanted. Whether it sends no more than that.
 */
export async function askBack(conversation: Conversation, { back }: Job, session: boolean): Promise<boolean> {
  if (!conversation.can(ability.back)) return false;
  if (back || session) await conversation.queue(encodeBack(back ?? []));
  return back !== undefined;
}

/**
 * Instructions of its globs that a run has for all the names of an answer: half a second, in which nobody else is served. Who wrote both
 * the globs and the program could need minutes.
 */
const mostSteps = 50_000_000;

/**
 * What was wanted of what came: an older supervisor sends all, and none is trusted. What there is no more time for is taken as it came:
 * what is not wanted does no harm.
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
