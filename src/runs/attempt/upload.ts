import { KatafleetError } from '../../model/errors.ts';
import { sandboxPath } from '../../model/paths.ts';
import { defaultModes, placedNs, type SandboxFolder } from '../../model/request.ts';
import type { Conversation } from '../../protocol/conversation.ts';
import { encodeData, encodeDelete, encodeDir, encodeFile, type EntryHeader } from '../../protocol/requests.ts';
import type { Delta } from '../sessions/sandbox-state.ts';

/** Sets what the client left out, now that the run is placed, so that it does not become part of the request. */
const header = ({ path, mode, mtimeNs }: SandboxFolder, kind: keyof typeof defaultModes, atNs: bigint): EntryHeader => ({
  path: sandboxPath(path),
  mode: mode ?? defaultModes[kind],
  mtimeNs: mtimeNs ?? atNs,
});

/**
 * Sends the changes that give a sandbox's folder its files. Folders come last, because of their time stamps. `atNs`: when the run is
 * placed.
 */
export async function upload(conversation: Conversation, { remove, files, folders }: Delta, atNs = placedNs(Date.now())): Promise<void> {
  for (const path of remove) await conversation.queue(encodeDelete(sandboxPath(path)));
  for (const file of files) {
    if (file.content instanceof Uint8Array) {
      await conversation.queue(encodeFile(header(file, 'file', atNs), file.content.length));
      for (const data of encodeData(file.content)) await conversation.queue(data);
    } else {
      await uploadStream(conversation, header(file, 'file', atNs), file.path, file.content);
    }
  }
  for (const folder of folders) await conversation.queue(encodeDir(header(folder, 'folder', atNs)));
}

async function uploadStream(
  conversation: Conversation,
  head: EntryHeader,
  path: string,
  content: { size: number; open: () => AsyncIterable<Uint8Array> },
): Promise<void> {
  await conversation.queue(encodeFile(head, content.size));
  let left = content.size;
  for await (const chunk of content.size > 0 ? content.open() : []) {
    left -= chunk.length;
    if (left < 0) break;
    for (const data of encodeData(chunk)) await conversation.queue(data);
  }
  if (left !== 0) {
    throw new KatafleetError('file.unreadable', `${path} changed while it was read: ${content.size} bytes were announced`);
  }
}
