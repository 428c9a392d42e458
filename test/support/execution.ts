import { profileOf } from '../../src/model/profile.ts';
import type { Execution } from '../../src/protocol/requests.ts';

/** The EXEC of a step that runs `true` with the default limits; `more` replaces fields. */
export const anExecution = (more: Partial<Execution> = {}): Execution => ({
  ...profileOf(),
  ...{ step: 1, keepNetwork: false, collect: false, processes: 0, cwd: '', argv: ['true'], env: [] },
  ...more,
});
