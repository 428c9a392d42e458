import { KiB } from '../../base/units.ts';
import { KatafleetError, messageOf } from '../../model/errors.ts';
import { limits } from '../../model/limits.ts';
import { outcomeFacts, sayOutcome, succeeded } from '../../model/outcome.ts';
import { profileOf } from '../../model/profile.ts';
import type { Step } from '../../model/request.ts';
import type { Changes, ListedFile, ReturnedFile, StepResult } from '../../model/result.ts';
import type { Lease } from '../../fleet/node/sandboxes.ts';
import { ConversationLost } from '../../protocol/conversation.ts';
import { encodeFrame, hostFrame } from '../../protocol/frames.ts';
import { ability } from '../../protocol/replies.ts';
import { askBack, wantedOf } from './back.ts';
import { download, listing } from './download.ts';
import { executeStep, failure } from './execute.ts';
import type { Job } from '../job.ts';
import type { PacedRoom } from '../room/paced-room.ts';
import { streamTransfer, type Transfer, type TransferOptions, type Transfers } from './transfer.ts';

interface Module extends AsyncDisposable {
  command: { argv: string[]; env: Record<string, string>; stdin?: NonNullable<Step['stdin']> };
}

/** What a transfer needs of rsync: modules that exist as long as one transfer. */
export interface RsyncModules {
  readonly timeoutMs: number;
  /** Changes of fewer bytes are sent over the conversation, which is faster for them. */
  readonly pushFrom: number;
  check(path: string): Promise<void>;
  pull(path: string): Promise<Module>;
  drop(listed: readonly ListedFile[]): Promise<Module & { take(): Promise<ReturnedFile[] | undefined> }>;
  /** Reports a failure that the transfer worked around. */
  trouble(message: string): void;
}

/** Most bytes of rsync's own output. */
const saidCap = 16 * KiB;
/** Numbers of katafleet's own steps; a run's steps are numbered from 0. */
const steps = { pull: 0xffff_fff0, push: 0xffff_fff1 } as const;

/** Fetches the files by rsync if the request names an rsync source; otherwise they travel over the conversation. */
export function transfersWith(rsync: RsyncModules | undefined): Transfers {
  return {
    check: async ({ request }) => {
      if (!request.rsync) return;
      if (!rsync) {
        throw new KatafleetError('rsync.off', 'the run names an rsync source, and rsync is off here', {
          hint: 'rsync.daemon in the configuration: own or machine',
        });
      }
      await rsync.check(request.rsync.path);
    },
    of: (lease, job, how = {}) => {
      if (!job.request.rsync) return streamTransfer(lease, job, how);
      if (!rsync) throw new KatafleetError('rsync.off', 'the run names an rsync source, and rsync is off here');
      return new RsyncTransfer(rsync, lease, job, job.request.rsync.path, how);
    },
  };
}

/**
 * Before the user's first step, a step of katafleet's own fetches the files. After the last one, another sends back the files that the
 * supervisor lists as changed. Both have the container's network, which the user's steps do not have. Each uses its own module, which
 * is removed before anything else runs.
 */
class RsyncTransfer implements Transfer {
  readonly collectsWithStep = false;
  readonly extraMs: number;
  readonly #rsync: RsyncModules;
  readonly #lease: Lease;
  readonly #job: Job;
  readonly #path: string;
  readonly #signal: AbortSignal | undefined;

  constructor(rsync: RsyncModules, lease: Lease, job: Job, path: string, { signal }: TransferOptions) {
    this.#rsync = rsync;
    this.#lease = lease;
    this.#job = job;
    this.#path = path;
    this.#signal = signal;
    this.extraMs = 2 * rsync.timeoutMs;
  }

  async send(): Promise<void> {
    const { conversation } = this.#lease;
    if (!conversation.can(ability.baseline)) {
      throw new KatafleetError('rsync.image', `the supervisor in ${this.#job.image} is too old for rsync`, {
        hint: 'rebuild the image: katafleet images build',
      });
    }
    {
      await using module = await this.#rsync.pull(this.#path);
      const result = await this.#step(steps.pull, module, this.#signal);
      // A cancelled run goes on to its first step, which ends at once.
      const fault = result.outcome.kind === 'cancelled' ? undefined : pullFault(result, this.#job.image, this.#path);
      if (fault) throw fault;
    }
    await conversation.send(encodeFrame(hostFrame.baseline));
    const reply = await conversation.next();
    if (reply.kind === 'fail') throw failure(reply);
    if (reply.kind !== 'collected') throw conversation.break(`"${reply.kind}" in answer to BASELINE`);
  }

  async collect(_asked: boolean, room?: PacedRoom): Promise<Changes> {
    const { conversation } = this.#lease;
    await askBack(conversation, this.#job, false);
    await conversation.send(encodeFrame(hostFrame.list));
    const listed = wantedOf(await listing(conversation, this.#job.profile), this.#job.back);
    const bytes = listed.files.reduce((sum, { size }) => sum + size, 0);
    const little = bytes < this.#rsync.pushFrom;
    await room?.take(bytes, this.#rsync.timeoutMs);
    const files = listed.files.length === 0 ? [] : little ? undefined : await this.#push(listed.files);
    if (files) return { ...listed, files };
    // Files that rsync could not send, such as one that its owner may not read, are sent over the conversation.
    await conversation.send(encodeFrame(hostFrame.collect));
    return wantedOf(await download(conversation, this.#job.profile, undefined, room), this.#job.back);
  }

  async #push(listed: readonly ListedFile[]): Promise<ReturnedFile[] | undefined> {
    try {
      await using module = await this.#rsync.drop(listed);
      const result = await this.#step(steps.push, module);
      if (succeeded(result.outcome)) return await module.take();
      this.#rsync.trouble(`the changes of a sandbox came without rsync: rsync ${endingOf(result)}`);
    } catch (error) {
      if (error instanceof ConversationLost || (error instanceof KatafleetError && error.code === 'protocol.broken')) throw error;
      this.#rsync.trouble(`the changes of a sandbox came without rsync: ${messageOf(error)}`);
    }
    return undefined;
  }

  #step(number: number, { command }: Module, signal?: AbortSignal): Promise<StepResult> {
    const { profile } = this.#job;
    // The program's limits do not apply to rsync, but System V IPC stays as limited as in the profile.
    const own = profileOf({ wallMs: this.#rsync.timeoutMs, stdout: saidCap, stderr: saidCap, fileSize: limits.fileSize.max });
    const step = { ...command, required: false };
    return executeStep(this.#lease.conversation, number, step, { ...own, shm: profile.shm }, { collect: false, keepNetwork: true, signal });
  }
}

/** Returns the error of a failed pull, by rsync's exit codes (rsync(1), EXIT VALUES). */
export function pullFault(result: StepResult, image: string, path: string): KatafleetError | undefined {
  const { outcome } = result;
  const code = outcome.kind === 'exited' ? outcome.code : undefined;
  if (code === 0) return undefined;
  const why = `rsync ${endingOf(result)}`;
  if (outcomeFacts(outcome).noSpace || /\(28\)|\(122\)/.test(result.stderr.toString('latin1'))) {
    return new KatafleetError('files.no_space', `the files of ${path} don't fit into the sandbox: ${why}`, {
      hint: 'give the run more memory',
    });
  }
  if (code === 126 || code === 127) {
    return new KatafleetError('rsync.image', `the image ${image} has no rsync: ${why}`, {
      hint: 'install rsync in it, or give the files with the run',
    });
  }
  if (code === 1 || code === 2 || code === 4)
    return new KatafleetError('rsync.image', `the rsync of the image ${image} can't be used: ${why}`);
  if (code === 23 || code === 24) return new KatafleetError('file.unreadable', `not all files of ${path} could be read: ${why}`);
  return new KatafleetError('rsync.failed', `the files of ${path} could not be fetched: ${why}`);
}

function endingOf({ outcome, stderr }: StepResult): string {
  const how = sayOutcome(outcome);
  const said = stderr
    .toString('latin1')
    .replace(/[^\x20-\x7e]+/g, ' ')
    .trim()
    .slice(0, 500);
  return said === '' ? how : `${how} (${said})`;
}
