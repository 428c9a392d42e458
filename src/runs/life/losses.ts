import { backoffMs } from '../../base/backoff.ts';
import { KatafleetError, messageOf } from '../../model/errors.ts';
import type { RunResult } from '../../model/result.ts';
import type { Tally } from './tally.ts';

/** From this many losses on nodes that are well, the run itself counts as their cause. */
const mostOwn = 2;
/** How long a run avoids a node where it found nothing, ms: short at first, `after` once there were more than `many`. */
const rest = { firstMs: 250, mostMs: 1_000, many: 20, after: 5_000 };
/** After more than so many such attempts it avoids the node for so long, ms. */
const longRest = { many: 100, ms: 30_000 };

/** How long a run avoids a node that is well and lost its sandbox, ms. */
const endingMs = 1_000;

/** Why an attempt has no result, and what was found out about its node. */
export type AttemptFault =
  /** It got no sandbox, or its files or its program failed in a way that is no outcome. */
  | {
      kind: 'error';
      error: KatafleetError;
      resumed: boolean;
      /** Whether the node answered when it was asked after the error. */
      answers: boolean;
      /** Whether the node's image list had the image before the error, and has it now that it was read again. */
      image?: { had: boolean; has: boolean };
    }
  /** Its sandbox ended under it. */
  | {
      kind: 'sandbox';
      reason: string;
      /** Whether its command had begun. */
      started: boolean;
      /** Whether the node, or in a swarm the sandbox's machine, was given up. */
      nodeLost: boolean;
      /** Whether the node answered when it was asked after the loss. */
      answers: boolean;
      resumed: boolean;
      warm: boolean;
      /** The result if the run itself is the cause. */
      result: RunResult;
    };

/** An attempt that failed before or while its command ran, and what follows for its run. */
export interface Loss {
  tally: Tally;
  error: KatafleetError;
  /** Whether it counts as one of the run's tries. */
  counts: boolean;
  /** Whether the run stays away from the node while others can take it. */
  avoid: boolean;
  /** How long the run stays away from the nodes that it avoids, ms. */
  pauseMs: number;
  /** The run's result if the program itself may have ended its sandboxes: the run ends. */
  own?: RunResult;
  /** Whether the node is to be looked at now. */
  doubt?: boolean;
}

/** Errors that mean that the node is not there, so nothing of the run was tried. */
const absent: ReadonlySet<string> = new Set(['engine.unreachable', 'engine.timeout', 'node.lost', 'swarm.leaderless']);

/** How long to wait after `times` attempts in a row that failed before the command began, ms. */
export function restMs(times: number): number {
  if (times > longRest.many) return longRest.ms;
  return times > rest.many ? rest.after : backoffMs(times, rest);
}

/** Judges a failed attempt. Returns undefined if the run ends: the fault is the user's, or katafleet's own. */
export const judge = (tally: Tally, node: string, fault: AttemptFault, attempts: number): Loss | undefined =>
  fault.kind === 'error' ? noSandbox(tally, fault) : sandboxLost(tally, node, fault, attempts);

/**
 * Judges an attempt whose sandbox ended under its run. If it was lost with its node, it counts as a try, and any run may lose as many
 * as there are tries. If the node lives on, the run itself may be the cause: the second such loss after the command began ends the run.
 * A loss before the command began does not count, unless it happens repeatedly on a node that is well.
 */
function sandboxLost(before: Tally, node: string, fault: Extract<AttemptFault, { kind: 'sandbox' }>, attempts: number): Loss {
  const { reason, started, nodeLost, answers, resumed, warm, result } = fault;
  const error = new KatafleetError('node.lost', `the run was lost on ${node}: ${reason}`);
  const well = !nodeLost && answers;
  if (started) {
    const tally = { ...before, setbacks: 0, own: before.own + Number(well) };
    return {
      tally,
      error,
      counts: !resumed,
      avoid: !resumed,
      // An engine that is stopping still answers while it ends its containers, so the next try must wait.
      pauseMs: well && !resumed ? endingMs : 0,
      ...(tally.own >= mostOwn ? { own: result } : {}),
    };
  }
  if (resumed) return { tally: before, error, counts: false, avoid: false, pauseMs: 0 };
  const tally = { ...before, setbacks: before.setbacks + 1, unbegun: before.unbegun + Number(well) };
  const spared = !well || before.unbegun < attempts;
  // Another idle sandbox of the same node is equally good.
  return { tally, error, counts: !spared, avoid: !warm || !well, pauseMs: well ? 0 : restMs(tally.setbacks) };
}

/** Judges an attempt that got no sandbox. After the placement an error is the node's, if another node could do better. */
function noSandbox(before: Tally, { error, resumed, answers, image }: Extract<AttemptFault, { kind: 'error' }>): Loss | undefined {
  if (error.code === 'node.full') {
    // There was no room after all. After an eviction the same node will do; otherwise other nodes, or a later time, are better.
    const { retryAfterMs } = error;
    const tally = { ...before, full: before.full + 1 };
    const pauseMs = retryAfterMs === undefined ? 0 : fullMs(tally.full, retryAfterMs);
    return { tally, error, counts: false, avoid: retryAfterMs !== undefined, pauseMs };
  }
  const tally = { ...before, setbacks: before.setbacks + 1 };
  const pauseMs = restMs(tally.setbacks);
  // The error is about the node: its books are corrected, and then they decide.
  if (image) return { tally, error, counts: (!image.had || image.has) && !resumed, avoid: true, pauseMs };
  if (error.fault !== 'node') return undefined;
  if (absent.has(error.code)) return { tally, error, counts: false, avoid: true, pauseMs, doubt: error.code !== 'node.lost' };
  // An engine that is stopping fails in many ways, and does not answer when it is asked again.
  return { tally, error, counts: answers && !resumed, avoid: true, pauseMs };
}

const fullMs = (times: number, firstMs: number) =>
  times > longRest.many ? longRest.ms : backoffMs(times, { firstMs, mostMs: rest.after });

/** The same message for a run that never finds a place. */
export const wordsOf = (node: string, { error }: Pick<Loss, 'error'>) => `${node}: ${messageOf(error)}`;
