/**
 * The phase of each state of a swarm task, see swarmkit's api/types.proto. States only move forward, and a task has not ended before
 * `complete`. An unknown state counts neither as under way nor as over.
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

/** Whether a task in this state has not ended. */
export function isUnderWay(state: string): boolean {
  const phase = phaseOf(state);
  return phase === 'waits' || phase === 'prepares' || phase === 'runs';
}

/** Whether a task in this state has ended. */
export function isOver(state: string): boolean {
  const phase = phaseOf(state);
  return phase === 'ended' || phase === 'failed';
}
