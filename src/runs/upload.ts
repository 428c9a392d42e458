import { KatafleetError } from '../core/errors.ts';
import { sandboxPath } from '../core/paths.ts';
import type { SandboxFile, SandboxFolder } from '../core/run.ts';
import type { Conversation } from '../protocol/conversation.ts';
import { encodeData, encodeDelete, encodeDir, encodeFile, type EntryHeader } from '../protocol/requests.ts';
import type { Delta } from './sandbox-state.ts';

const header = (entry: SandboxFolder): EntryHeader => ({ path: sandboxPath(entry.path), mode: entry.mode, mtimeNs: entry.mtimeNs });

/** Checks every path before anything is sent. @throws files.path */
export function checkEntries(files: readonly SandboxFile[], folders: readonly SandboxFolder[]): void {
  const seen = new Set<string>();
  for (const { path } of [...files, ...folders]) {
    sandboxPath(path);
    if (seen.has(path)) throw new KatafleetError('files.path', `the path ${JSON.stringify(path)} is given twice`);
    seen.add(path);
  }
}

/** Sends what makes a sandbox's folder what it should be; folders last, for their time stamps. */
export async function upload(conversation: Conversation, { remove, files, folders }: Delta): Promise<void> {
  for (const path of remove) await conversation.queue(encodeDelete(sandboxPath(path)));
  for (const file of files) {
    if (file.content instanceof Uint8Array) {
      await conversation.queue(encodeFile(header(file), file.content.length));
      for (const data of encodeData(file.content)) await conversation.queue(data);
    } else {
      await uploadStream(conversation, file, file.content);
    }
  }
  for (const folder of folders) await conversation.queue(encodeDir(header(folder)));
}

async function uploadStream(
  conversation: Conversation,
  file: SandboxFile,
  content: { size: number; open: () => AsyncIterable<Uint8Array> },
): Promise<void> {
  await conversation.queue(encodeFile(header(file), content.size));
  let left = content.size;
  for await (const chunk of content.size > 0 ? content.open() : []) {
    left -= chunk.length;
    if (left < 0) break;
    for (const data of encodeData(chunk)) await conversation.queue(data);
  }
  if (left !== 0) {
    throw new KatafleetError('file.unreadable', `${file.path} changed while it was read: ${content.size} bytes were announced`);
  }
}
