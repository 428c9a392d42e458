import { serverMemory } from '../base/server-memory.ts';
import { defaults } from '../model/defaults.ts';

/** Returns the library's options if its user gives none: those of an empty configuration. */
export const defaultOptions = () => ({
  idleMemory: defaults.idleMemory,
  policy: { pack: defaults.policy },
  queue: { ...defaults.queue, bytes: serverMemory().requests },
  attempts: defaults.attempts,
  acquireMs: defaults.acquireMs,
  sessions: defaults.sessions,
  health: defaults.health,
  copy: defaults.copy,
  graceMs: defaults.graceMs,
});
