/**
 * What a swarm task's state means, see swarmkit's api/types.proto: a task only moves forward, and has not ended before it is
 * `complete` or later. A state that is not listed is none that we know, and counts as neither under way nor over.
 */
const phases = {
  new: 'waits',
  allocated: 'waits',
  pending: 'waits',
  assigned: 'prepares',
  accepted: 'prepares',
  preparing: 'prepares',
  ready: 'prepares',
  starting: 'prepares',
  running: 'runs',
  complete: 'ended',
  shutdown: 'ended',
  remove: 'ended',
  failed: 'failed',
  rejected: 'failed',
  orphaned: 'failed',
} as const;
type Phase = (typeof phases)[keyof typeof phases];

export const phaseOf = (state: string): Phase | undefined =>
  Object.hasOwn(phases, state) ? phases[state as keyof typeof phases] : undefined;

/** Whether a task in that state has not ended. */
export function isUnderWay(state: string): boolean {
  const phase = phaseOf(state);
  return phase === 'waits' || phase === 'prepares' || phase === 'runs';
}

/** Whether a task in that state runs no more, and never will. */
export function isOver(state: string): boolean {
  const phase = phaseOf(state);
  return phase === 'ended' || phase === 'failed';
}
