import { placedNs } from '../../model/request.ts';
import type { Changes } from '../../model/result.ts';
import type { Lease } from '../../fleet/node/sandboxes.ts';
import { type Conversation, ConversationLost } from '../../protocol/conversation.ts';
import { encodeFrame, hostFrame } from '../../protocol/frames.ts';
import { ability } from '../../protocol/replies.ts';
import { askBack, wantedOf } from './back.ts';
import { beforeOf, download } from './download.ts';
import { failure } from './execute.ts';
import type { Job } from '../job.ts';
import type { PacedRoom } from '../room/paced-room.ts';
import type { SandboxState } from '../sessions/sandbox-state.ts';
import { upload } from './upload.ts';

/** How the files of one attempt come into its sandbox, and how its changes come back. */
export interface Transfer {
  /** Whether the last step may ask for the changes at once. */
  readonly collectsWithStep: boolean;
  /** Time that it may take beyond that of the steps (ms). */
  readonly extraMs: number;
  /** Puts the files into the sandbox, after OPEN. Changes are relative to the files that are there afterwards. */
  send(): Promise<void>;
  /**
   * Returns the changes after the last step. `asked`: the step asked for them already. `room`: counts the bytes that come back.
   * @throws ConversationLost, what the room throws
   */
  collect(asked: boolean, room?: PacedRoom): Promise<Changes>;
}

export interface TransferOptions {
  signal?: AbortSignal | undefined;
  /** The files in a session's sandbox, kept up to date. */
  state?: SandboxState | undefined;
}

/** The ways of transfer that this katafleet offers. */
export interface Transfers {
  /** Checks that a run's transfer is possible. @throws KatafleetError if it is not */
  check(job: Job): Promise<void>;
  of(lease: Lease, job: Job, how?: TransferOptions): Transfer;
}

/** Sends files over the conversation: all of them, or those that a session's sandbox lacks. */
export function streamTransfer({ conversation }: Lease, job: Job, { state }: TransferOptions = {}): Transfer {
  const { request, profile } = job;
  let partly = false;
  return {
    collectsWithStep: true,
    extraMs: 0,
    send: async () => {
      partly = await askBack(conversation, job, state !== undefined);
      const { files, folders = [] } = request;
      const now = Date.now();
      const placed = placedNs(now);
      const clock = { placed, now: conversation.can(ability.tail) ? undefined : BigInt(now) * 1_000_000n };
      const delta = state?.delta(files, folders, clock) ?? { remove: [], files, folders };
      await upload(conversation, delta, placed).catch(async (error: unknown) => {
        throw error instanceof ConversationLost ? await lastWords(conversation, error) : error;
      });
      state?.sent(delta, files);
    },
    collect: async (asked, room) => {
      if (!asked) await conversation.send(encodeFrame(hostFrame.collect));
      const { files, folders = [] } = request;
      const before = beforeOf(state?.known() ?? [...files, ...folders].map(({ path }) => path));
      const changes = await download(conversation, profile, before, room);
      state?.returned(changes);
      if (partly) state?.doubt();
      return wantedOf(changes, job.back);
    },
  };
}

/** Returns the supervisor's reason if a write failed, since it may have sent one; else the failure itself. */
async function lastWords(conversation: Conversation, lost: ConversationLost): Promise<Error> {
  try {
    for (;;) {
      const reply = await conversation.next();
      if (reply.kind === 'fail') return failure(reply);
    }
  } catch {
    return lost;
  }
}
