import type { TaskEnds } from '../sandbox.ts';
import type { TaskShape } from '../services/service.ts';
import type { Services } from '../services/services.ts';
import type { PoolRules } from './pool-state.ts';
import type { TaskReport } from './tasks.ts';

/** The swarm, as its pools see it. */
export interface SwarmSide extends TaskEnds {
  readonly services: Pick<Services, 'apply'>;
  readonly rules: PoolRules;
  /** How many tasks the machines can start at once. */
  starting(): number;
  /** Host name of a node. */
  nameOf(node: string): string;
  /** Why tasks of a service have not dialled in; failures before `since` (Unix ms) are ignored. @throws engine.*, swarm.* */
  report(service: string, connected: ReadonlySet<string>, since: number): Promise<TaskReport>;
  /** Called when nodes lack the image: it may be brought there. */
  onLacking(shape: TaskShape, nodes: readonly string[]): void;
  /** Called when the swarm has no room for a pool. */
  onPressure(): void;
  onTrouble(message: string): void;
}
