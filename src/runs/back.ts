import { type GlobProgram, globsFit } from '../core/glob.ts';
import type { Changes } from '../core/run.ts';
import type { Conversation } from '../protocol/conversation.ts';
import { ability } from '../protocol/replies.ts';
import { encodeBack } from '../protocol/requests.ts';
import type { Job } from './job.ts';

/**
 * Tells the supervisor what shall come back, where it understands. In a session's sandbox it forgets so what the run before
 * wanted. Whether it sends no more than that.
 */
export async function askBack(conversation: Conversation, { back }: Job, session: boolean): Promise<boolean> {
  if (!conversation.can(ability.back)) return false;
  if (back || session) await conversation.queue(encodeBack(back ?? []));
  return back !== undefined;
}

/** What was wanted of what came: an older supervisor sends all, and none is trusted. */
export function wantedOf<T extends Omit<Changes, 'files'> & { files: { path: string }[] }>(
  changes: T,
  program: GlobProgram | undefined,
): T {
  if (!program) return changes;
  const wanted = <Entry extends { path: string }>(entries: Entry[]) => entries.filter(({ path }) => globsFit(program, path));
  const omitted = wanted(changes.omitted);
  return {
    ...changes,
    files: wanted(changes.files),
    folders: wanted(changes.folders),
    deleted: changes.deleted.filter((path) => globsFit(program, path)),
    omitted,
    omittedCount: changes.omittedCount - (changes.omitted.length - omitted.length),
  };
}
