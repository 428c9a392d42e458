import { backoffMs } from '../base/backoff.ts';
import { KatafleetError, messageOf } from '../model/errors.ts';
import type { Node } from '../fleet/node/node.ts';
import type { Ticket } from './ticket.ts';

/** From this many losses on nodes that are well, the run itself counts as their cause. */
const mostOwn = 2;
/** How long a run avoids a node where it found nothing, ms: short at first, `after` once there were more than `many`. */
const rest = { firstMs: 250, mostMs: 1_000, many: 20, after: 5_000 };

/** How long a run avoids a node that is well and lost its sandbox, ms. */
const endingMs = 1_000;

/** An attempt that failed before or while its command ran, and what follows for its run. */
export interface Loss {
  error: KatafleetError;
  /** Whether it counts as one of the run's tries. */
  counts: boolean;
  /** Whether the run stays away from the node while others can take it. */
  avoid: boolean;
  /** How long the run stays away from the nodes that it avoids, ms. */
  pauseMs: number;
  /** The program itself may have ended its sandboxes, so the run ends. */
  own: boolean;
}

/** Errors that mean that the node is not there, so nothing of the run was tried. */
const absent: ReadonlySet<string> = new Set(['engine.unreachable', 'engine.timeout', 'node.lost', 'swarm.leaderless']);

/** How long to wait after `times` attempts in a row that failed before the command began, ms. */
export function restMs(times: number): number {
  return times > rest.many ? rest.after : backoffMs(times, rest);
}

/**
 * Judges an attempt whose sandbox ended under its run. If it was lost with its node, it counts as a try, and any run may lose as many
 * as there are tries; `nodeLost` says that the node, or in a swarm the sandbox's machine, was given up. If the node lives on, the run
 * itself may be the cause: the second such loss after the command began ends the run. A loss before the command began does not count,
 * unless it happens repeatedly on a node that is well.
 */
export async function sandboxLost(
  ticket: Pick<Ticket, 'own' | 'setbacks' | 'unbegun'>,
  node: Pick<Node, 'answers'> & { settings: Pick<Node['settings'], 'name'> },
  tried: { reason: string; started: boolean; nodeLost: boolean; resumed: boolean; warm: boolean },
  attempts: number,
): Promise<Loss> {
  const name = node.settings.name;
  const error = new KatafleetError('node.lost', `the run was lost on ${name}: ${tried.reason}`);
  const well = !tried.nodeLost && (await node.answers());
  if (tried.started) {
    ticket.setbacks = 0;
    if (well) ticket.own += 1;
    // An engine that is stopping still answers while it ends its containers, so the next try must wait.
    return {
      error,
      counts: !tried.resumed,
      avoid: !tried.resumed,
      pauseMs: well && !tried.resumed ? endingMs : 0,
      own: ticket.own >= mostOwn,
    };
  }
  if (tried.resumed) return { error, counts: false, avoid: false, pauseMs: 0, own: false };
  ticket.setbacks += 1;
  const spared = !well || ticket.unbegun < attempts;
  if (well) ticket.unbegun += 1;
  // Another idle sandbox of the same node is equally good.
  return { error, counts: !spared, avoid: !tried.warm || !well, pauseMs: well ? 0 : restMs(ticket.setbacks), own: false };
}

/** Judges an attempt that got no sandbox. Returns undefined if the run ends: the fault is the user's, or katafleet's own. */
export async function noSandbox(ticket: Ticket, node: Node, error: unknown): Promise<Loss | undefined> {
  if (!(error instanceof KatafleetError)) return undefined;
  const base = { error, avoid: true, own: false };
  if (error.code === 'node.full') {
    // There was no room after all. After an eviction the same node will do; otherwise other nodes, or a later time, are better.
    const { retryAfterMs } = error;
    ticket.full += 1;
    const pauseMs = retryAfterMs === undefined ? 0 : backoffMs(ticket.full, { firstMs: retryAfterMs, mostMs: rest.after });
    return { ...base, counts: false, avoid: retryAfterMs !== undefined, pauseMs };
  }
  // The attempt did not begin: it is not stored, and no node is at fault.
  if (error.code === 'journal.full') return { ...base, counts: false, avoid: false, pauseMs: 0 };
  if (error.code === 'image.unknown') {
    // The error is about the node: its books are corrected, and then they decide.
    const had = node.sandboxes.imageId(ticket.job.image) !== undefined;
    await node.refreshImages();
    ticket.setbacks += 1;
    const has = node.sandboxes.imageId(ticket.job.image) !== undefined;
    return { ...base, counts: !had || has, pauseMs: restMs(ticket.setbacks) };
  }
  if (error.fault !== 'node') return undefined;
  ticket.setbacks += 1;
  const pauseMs = restMs(ticket.setbacks);
  if (absent.has(error.code)) {
    if (error.code !== 'node.lost') node.doubt(error);
    return { ...base, counts: false, pauseMs };
  }
  // An engine that is stopping fails in many ways, and does not answer when it is asked again.
  return { ...base, counts: await node.answers(), pauseMs };
}

/** The same message for a run that never finds a place. */
export const wordsOf = (node: string, { error }: Loss) => `${node}: ${messageOf(error)}`;
