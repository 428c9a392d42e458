import type { Clock, Timer } from '../../base/clock.ts';
import type { Sandbox } from '../../drivers/contract.ts';
import { Conversation } from '../../protocol/conversation.ts';
import { encodeFrame, hostFrame } from '../../protocol/frames.ts';

/** A sandbox whose supervisor has sent HELLO: ready for OPEN. */
export interface ReadySandbox {
  sandbox: Sandbox;
  conversation: Conversation;
}

/** How long a supervisor may take to end when asked to, before its container is killed. */
const closeMs = 1_000;

/** Waits for the HELLO of a sandbox's supervisor. @throws sandbox.failed, protocol.broken */
export async function greet(sandbox: Sandbox): Promise<Conversation> {
  const conversation = new Conversation(sandbox.stream);
  await conversation.hello();
  return conversation;
}

/** Does work on a sandbox. An abort meanwhile breaks its stream. @throws what the work throws */
export async function breakOnAbort<T>(sandbox: Sandbox, abort: AbortSignal, work: () => Promise<T>): Promise<T> {
  const breakOff = () => sandbox.stream.destroy();
  try {
    abort.addEventListener('abort', breakOff, { once: true });
    if (abort.aborted) breakOff();
    return await work();
  } finally {
    abort.removeEventListener('abort', breakOff);
  }
}

/**
 * Asks a supervisor to end, and waits a second at most. A supervisor that ends by itself costs the engine less than a kill.
 */
export async function endSupervisor({ sandbox, conversation }: ReadySandbox, clock: Clock): Promise<void> {
  // `closed` shows whether it has ended. A stream that is stuck or destroyed takes no frame.
  conversation.send(encodeFrame(hostFrame.close)).catch(() => undefined);
  sandbox.stream.end(); // a docker command of 1.6 runs for as long as it has input
  await doneOrLate(sandbox.closed, closeMs, clock);
}

/** Resolves when the work has ended, even with an error, or after this time, ms. */
export async function doneOrLate(work: Promise<unknown>, ms: number, clock: Clock): Promise<void> {
  let timer: Timer | undefined;
  const timeUp = new Promise<void>((resolve) => (timer = clock.after(ms, resolve)));
  const done = work.then(
    () => timer?.cancel(),
    () => timer?.cancel(),
  );
  await Promise.race([done, timeUp]);
}
