import { within } from '../../base/deadline.ts';
import type { StepResult } from '../../model/result.ts';
import type { Lease } from '../../fleet/node/sandboxes.ts';
import { encodeFrame, hostFrame } from '../../protocol/frames.ts';
import { ability } from '../../protocol/replies.ts';

/** How long the engine may take to tell, ms. */
const wordMs = 10_000;

const well = ({ outcome }: StepResult) => outcome.kind === 'exited' && outcome.code === 0;

/**
 * The engine's word on memory, where the supervisor can't see the counter of its control group. The engine tells at the
 * container's end, and not which step it was: the first one that did not end well is taken for it, else the last. A run
 * of a session whose steps all ended well is not asked about, because its sandbox is worth more to it. An engine that does
 * not answer changes nothing. Resolves to whether the sandbox was ended for it.
 */
export async function askAboutMemory({ sandbox, conversation, lost }: Lease, steps: StepResult[], session: boolean): Promise<boolean> {
  const word = sandbox.outOfMemory?.bind(sandbox);
  if (!word || conversation.can(ability.oom) || steps.length === 0) return false;
  if (steps.some(({ outcome }) => outcome.kind === 'cancelled') || (session && steps.every(well))) return false;
  try {
    await conversation.send(encodeFrame(hostFrame.close));
    if (await within(wordMs, word, { signals: [lost] })) {
      const unwell = steps.findIndex((step) => !well(step));
      const at = unwell < 0 ? steps.length - 1 : unwell;
      const step = steps[at];
      if (step) steps[at] = { ...step, outcome: { kind: 'out_of_memory' }, oomKills: 1 };
    }
  } catch {
    // The run has its result; nobody can say more of it.
  }
  return true;
}
