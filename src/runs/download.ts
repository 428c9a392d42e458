import { type Changes, type ListedFile, noChanges } from '../core/run.ts';
import type { Profile } from '../core/profile.ts';
import type { Conversation } from '../protocol/conversation.ts';

const mostListed = 1_000;

/** What changed, without the bytes. */
export interface Listing extends Omit<Changes, 'files'> {
  files: ListedFile[];
}

/** Reads the answer to COLLECT, holding the supervisor to the bounds that OPEN gave it. */
export async function download(conversation: Conversation, profile: Profile): Promise<Changes> {
  const files: Changes['files'] = [];
  const rest = await answer(conversation, profile, 'file', async ({ change, path, mode, mtimeNs, size }) => {
    files.push({ change, path, mode, mtimeNs, content: await content(conversation, size) });
  });
  return { ...rest, files };
}

/** Reads the answer to LIST, within the same bounds. */
export async function listing(conversation: Conversation, profile: Profile): Promise<Listing> {
  const files: ListedFile[] = [];
  const rest = await answer(conversation, profile, 'listed', ({ change, path, mode, mtimeNs, size }) => {
    files.push({ change, path, mode, mtimeNs, size });
  });
  return { ...rest, files };
}

async function answer(
  conversation: Conversation,
  profile: Profile,
  kind: 'file' | 'listed',
  take: (file: ListedFile) => void | Promise<void>,
): Promise<Changes> {
  const changes = noChanges();
  let [files, bytes] = [0, 0];
  for (;;) {
    const reply = await conversation.next();
    switch (reply.kind) {
      case kind:
        files += 1;
        bytes += reply.size;
        if (files > profile.filesBack || reply.size > profile.fileBack || bytes > profile.bytesBack)
          throw conversation.break('more files than it was asked for');
        await take(reply);
        break;
      case 'dir':
        if (changes.folders.length >= 100_000) throw conversation.break('too many folders');
        changes.folders.push({ path: reply.path, mode: reply.mode, mtimeNs: reply.mtimeNs });
        break;
      case 'deleted':
        changes.deleted.push(reply.path);
        break;
      case 'omitted':
        if (changes.omitted.length >= mostListed) throw conversation.break('too many omissions');
        changes.omitted.push({ path: reply.path, reason: reply.reason });
        break;
      case 'collected':
        if (reply.files !== files || reply.bytes !== bytes) throw conversation.break('a count of files that is not what it sent');
        changes.omittedCount = reply.omitted;
        return changes;
      default:
        throw conversation.break(`"${reply.kind}" among the changed files`);
    }
  }
}

async function content(conversation: Conversation, size: number): Promise<Buffer> {
  const parts: Buffer[] = [];
  let left = size;
  while (left > 0) {
    const reply = await conversation.next();
    if (reply.kind !== 'data' || reply.bytes.length > left) throw conversation.break('a file that is not as long as announced');
    parts.push(Buffer.from(reply.bytes));
    left -= reply.bytes.length;
  }
  return Buffer.concat(parts);
}
