import { type Changes, noChanges } from '../core/run.ts';
import type { Profile } from '../core/profile.ts';
import type { Conversation } from '../protocol/conversation.ts';
import type { Reply } from '../protocol/replies.ts';

const mostListed = 1_000;

/** Reads the answer to COLLECT, holding the supervisor to the bounds that OPEN gave it. */
export async function download(conversation: Conversation, profile: Profile): Promise<Changes> {
  const changes = noChanges();
  let bytes = 0;
  for (;;) {
    const reply = await conversation.next();
    switch (reply.kind) {
      case 'file': {
        bytes += reply.size;
        if (changes.files.length >= profile.filesBack || reply.size > profile.fileBack || bytes > profile.bytesBack) {
          throw conversation.break('more files than it was asked for');
        }
        changes.files.push(await content(conversation, reply));
        break;
      }
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
        if (reply.files !== changes.files.length || reply.bytes !== bytes)
          throw conversation.break('a count of files that is not what it sent');
        changes.omittedCount = reply.omitted;
        return changes;
      default:
        throw conversation.break(`"${reply.kind}" among the changed files`);
    }
  }
}

async function content(conversation: Conversation, file: Extract<Reply, { kind: 'file' }>): Promise<Changes['files'][number]> {
  const parts: Buffer[] = [];
  let left = file.size;
  while (left > 0) {
    const reply = await conversation.next();
    if (reply.kind !== 'data' || reply.bytes.length > left) throw conversation.break('a file that is not as long as announced');
    parts.push(Buffer.from(reply.bytes));
    left -= reply.bytes.length;
  }
  const { change, path, mode, mtimeNs } = file;
  return { change, path, mode, mtimeNs, content: Buffer.concat(parts) };
}
