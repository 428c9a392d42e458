import { profileOf } from '../../src/model/profile.ts';
import type { Execution } from '../../src/protocol/requests.ts';

/** What EXEC says of a step of the defaults' limits that runs `true`; `more` says what differs. */
export const anExecution = (more: Partial<Execution> = {}): Execution => ({
  ...profileOf(),
  ...{ step: 1, keepNetwork: false, collect: false, processes: 0, cwd: '', argv: ['true'], env: [] },
  ...more,
});
