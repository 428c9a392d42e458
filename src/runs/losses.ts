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

/** An attempt that came to nothing, and what that means for its run. */
export interface Loss {
  error: KatafleetError;
  /** Whether it counts as one of the run's tries. */
  counts: boolean;
  /** Whether the run stays away from the node while others can take it. */
  avoid: boolean;
  /** How long the run stays away from the nodes that it avoids, ms. */
  pauseMs: number;
  /** The program itself may be what ends its sandboxes: the run is over. */
  own: boolean;
}

/** Errors by which a node is not there, so that nothing of the run was tried. */
const absent: ReadonlySet<string> = new Set(['engine.unreachable', 'engine.timeout', 'node.lost', 'swarm.leaderless']);

/** How long to wait after `times` attempts in a row that came to nothing, ms. */
export function restMs(times: number): number {
  return times > rest.many ? rest.after : backoffMs(times, rest);
}

/**
 * A sandbox that was there and went away under its run. Lost with its node, it is a try that any run may lose: as many as there
 * are tries; `nodeLost` says that the node was given up, or on a swarm the sandbox's machine. Lost while the node lives on, the run
 * itself may have done it: the second such loss after the command began is the run's own. Before that nothing was done: it does not
 * count, unless that happens again and again on a node that is well.
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
    // An engine that is ending still answers while it ends its containers: the next try is not to be made into that.
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
  // Another idle sandbox of the same node is as good as any.
  return { error, counts: !spared, avoid: !tried.warm || !well, pauseMs: well ? 0 : restMs(ticket.setbacks), own: false };
}

/** No sandbox came. Undefined where that is the end of the run: the fault is the user's, or katafleet's own. */
export async function noSandbox(ticket: Ticket, node: Node, error: unknown): Promise<Loss | undefined> {
  if (!(error instanceof KatafleetError)) return undefined;
  const base = { error, avoid: true, own: false };
  if (error.code === 'node.full') {
    // There was no room after all. Where something gave way the same node will do, else others are better, or a later time.
    const { retryAfterMs } = error;
    ticket.full += 1;
    const pauseMs = retryAfterMs === undefined ? 0 : backoffMs(ticket.full, { firstMs: retryAfterMs, mostMs: rest.after });
    return { ...base, counts: false, avoid: retryAfterMs !== undefined, pauseMs };
  }
  // It was not begun: nothing of it is written down, and no node is to blame.
  if (error.code === 'journal.full') return { ...base, counts: false, avoid: false, pauseMs: 0 };
  if (error.code === 'image.unknown') {
    // The node's word is about the node: its books are set right, and what is left of them decides.
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
  // An engine that is ending fails in many words. Asked again, it is silent.
  return { ...base, counts: await node.answers(), pauseMs };
}

/** The same words for a run that never finds a place. */
export const wordsOf = (node: string, { error }: Loss) => `${node}: ${messageOf(error)}`;
