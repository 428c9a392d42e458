import { serverMemory } from '../base/server-memory.ts';
import { defaults } from '../model/defaults.ts';

/** The options of the library where its user says nothing: what an empty configuration means. */
export const defaultOptions = () => ({
  idleMemory: defaults.idleMemory,
  policy: { pack: defaults.policy },
  queue: { ...defaults.queue, bytes: serverMemory().requests },
  attempts: defaults.attempts,
  sessions: defaults.sessions,
  health: defaults.health,
  copy: defaults.copy,
  graceMs: defaults.graceMs,
});
