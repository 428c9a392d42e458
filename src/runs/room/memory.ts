import { within } from '../../base/deadline.ts';
import { succeeded } from '../../model/outcome.ts';
import type { StepResult } from '../../model/result.ts';
import type { Lease } from '../../fleet/node/sandboxes.ts';
import { encodeFrame, hostFrame } from '../../protocol/frames.ts';
import { ability } from '../../protocol/replies.ts';

/** Time limit for the engine to answer (ms). */
const wordMs = 10_000;

/**
 * Asks the engine whether memory ran out, if the supervisor cannot read its control group's counter. The engine only answers when the
 * container has ended, and does not know the step: the first step that failed gets the outcome, else the last one. A session's run
 * whose steps all succeeded is not asked about, because its sandbox would be lost. If the engine does not answer, nothing changes.
 * Resolves with whether the sandbox was ended for the question.
 */
export async function askAboutMemory({ sandbox, conversation, lost }: Lease, steps: StepResult[], session: boolean): Promise<boolean> {
  const word = sandbox.outOfMemory?.bind(sandbox);
  if (!word || conversation.can(ability.oom) || steps.length === 0) return false;
  if (steps.some(({ outcome }) => outcome.kind === 'cancelled') || (session && steps.every(({ outcome }) => succeeded(outcome))))
    return false;
  try {
    await conversation.send(encodeFrame(hostFrame.close));
    if (await within(wordMs, word, { signals: [lost] })) {
      const unwell = steps.findIndex(({ outcome }) => !succeeded(outcome));
      const at = unwell < 0 ? steps.length - 1 : unwell;
      const step = steps[at];
      if (step) steps[at] = { ...step, outcome: { kind: 'out_of_memory' }, oomKills: 1 };
    }
  } catch {
    // The run has its result without the answer.
  }
  return true;
}
