import { MiB } from '../../base/units.ts';
import { pathBytes } from '../../model/paths.ts';
import { type Changes, type ListedFile, noChanges, type Omission } from '../../model/result.ts';
import type { Profile } from '../../model/profile.ts';
import { type Conversation, ConversationLost } from '../../protocol/conversation.ts';
import { failure } from './execute.ts';
import type { PacedRoom } from '../room/paced-room.ts';

/**
 * Bounds of one answer without the contents of files, which the profile bounds. All lists and strings that a sandbox sends are bounded
 * here. Names beyond `names` and `listed` are counted as omitted: a program can cause them, and an older supervisor sends them. Only a
 * compromised supervisor sends more than `entries`.
 */
export const answerLimits = {
  /** Bytes of the names of all files and folders. */
  names: 8 * MiB,
  /** Most omissions that are listed by name, and the bytes of their names. */
  listed: 1_000,
  listedBytes: MiB,
  /** Folders, deletions and omissions together. */
  entries: 1_000_000,
} as const;

/** The files and folders that were there before and can be deleted: their number, and the bytes of their names. */
export interface Before {
  entries: number;
  bytes: number;
}

/** The most that a supervisor remembers (docs/protocol.md). */
const anythingBefore: Before = { entries: answerLimits.entries, bytes: 64 * MiB };

/** Returns the bound on deletions from a sandbox's folder that has these entries. */
export function beforeOf(paths: Iterable<string>): Before {
  const before = { entries: 0, bytes: 0 };
  for (const path of paths) {
    before.entries += 1;
    before.bytes += pathBytes(path);
  }
  return before;
}

/** Changes without the contents of files. */
export interface Listing extends Omit<Changes, 'files'> {
  files: ListedFile[];
}

/**
 * Reads the answer to COLLECT, and checks it against the bounds that OPEN gave.
 * @throws ConversationLost, protocol.broken, what the room throws
 */
export async function download(
  conversation: Conversation,
  profile: Profile,
  before = anythingBefore,
  room?: Pick<PacedRoom, 'take'>,
): Promise<Changes> {
  const files: Changes['files'] = [];
  const rest = await answer(conversation, profile, before, 'file', async ({ change, path, mode, mtimeNs, size }, wanted) => {
    if (wanted) await room?.take(size);
    const bytes = await content(conversation, size, wanted);
    if (wanted) files.push({ change, path, mode, mtimeNs, content: bytes });
  });
  return { ...rest, files };
}

/** Reads the answer to LIST, within the same bounds. */
export async function listing(conversation: Conversation, profile: Profile, before = anythingBefore): Promise<Listing> {
  const files: ListedFile[] = [];
  const rest = await answer(conversation, profile, before, 'listed', ({ change, path, mode, mtimeNs, size }, wanted) => {
    if (wanted) files.push({ change, path, mode, mtimeNs, size });
  });
  return { ...rest, files };
}

async function answer(
  conversation: Conversation,
  profile: Profile,
  before: Before,
  kind: 'file' | 'listed',
  take: (file: ListedFile, wanted: boolean) => void | Promise<void>,
): Promise<Changes> {
  const changes = noChanges();
  let [files, bytes, names, deletedBytes, omittedBytes, others, left] = [0, 0, 0, 0, 0, 0, 0];
  const named = (path: string) => {
    const length = pathBytes(path);
    if (names + length > answerLimits.names) return false;
    names += length;
    return true;
  };
  const omit = (path: string, reason: Omission) => {
    omittedBytes += pathBytes(path);
    if (changes.omitted.length < answerLimits.listed && omittedBytes <= answerLimits.listedBytes) changes.omitted.push({ path, reason });
  };
  for (;;) {
    const reply = await conversation.next();
    switch (reply.kind) {
      case kind: {
        files += 1;
        bytes += reply.size;
        if (files > profile.filesBack || reply.size > profile.fileBack || bytes > profile.bytesBack)
          throw conversation.break('more files than it was asked for');
        const wanted = named(reply.path);
        await take(reply, wanted);
        if (wanted) break;
        omit(reply.path, 'too_much');
        left += 1;
        break;
      }
      case 'dir': {
        const why = changes.folders.length >= profile.filesBack ? 'too_many' : named(reply.path) ? undefined : 'too_much';
        if (why === undefined) changes.folders.push({ path: reply.path, mode: reply.mode, mtimeNs: reply.mtimeNs });
        else {
          omit(reply.path, why);
          left += 1;
        }
        others += 1;
        break;
      }
      case 'deleted':
        deletedBytes += pathBytes(reply.path);
        if (changes.deleted.length >= before.entries || deletedBytes > before.bytes)
          throw conversation.break('more deletions than there were files');
        changes.deleted.push(reply.path);
        break;
      case 'omitted':
        omit(reply.path, reply.reason);
        others += 1;
        break;
      case 'collected':
        if (reply.files !== files || reply.bytes !== bytes) throw conversation.break('a count of files that differs from what it sent');
        changes.omittedCount = reply.omitted + left;
        return changes;
      case 'fail': {
        // The steps have ended, and their output is kept.
        const error = failure(reply);
        throw new ConversationLost(error.message, error);
      }
      default:
        throw conversation.break(`"${reply.kind}" among the changed files`);
    }
    if (others > answerLimits.entries) throw conversation.break('more folders and omissions than a sandbox may have');
  }
}

/**
 * Reads a file's bytes; drops them if the file is not wanted. The size is within the profile's bounds and has room, so one buffer of
 * that size takes them all: a growing buffer would leave as much garbage again.
 */
async function content(conversation: Conversation, size: number, wanted: boolean): Promise<Buffer> {
  const bytes = wanted ? Buffer.allocUnsafeSlow(size) : Buffer.alloc(0);
  for (let left = size; left > 0;) {
    const reply = await conversation.next();
    if (reply.kind !== 'data' || reply.bytes.length > left) throw conversation.break('a file that is not as long as announced');
    if (wanted) bytes.set(reply.bytes, size - left);
    left -= reply.bytes.length;
  }
  return bytes;
}
