import type { NodeEvent } from '../../model/node.ts';
import type { MaintenanceRecord, NodeSetting, NodeStore } from '../../model/run-store.ts';
import type { CommandQueue } from './queue.ts';

/** Node events, users' decisions about nodes, and maintenance. */
export class StoredNodes implements NodeStore {
  readonly #queue: CommandQueue;

  protected constructor(queue: CommandQueue) {
    this.#queue = queue;
  }

  event(node: string, kind: string, detail: string, at: number): Promise<void> {
    return this.#queue.write({ do: 'event', node, kind, detail, at }, 'once');
  }

  events({ node, limit }: { node?: string | undefined; limit: number }): Promise<NodeEvent[]> {
    return this.#queue.read({ do: 'events', node, limit });
  }

  nodeSettings(): Promise<NodeSetting[]> {
    return this.#queue.read({ do: 'nodes' });
  }

  setNodeSetting(name: string, { cordoned, draining, machine }: Omit<NodeSetting, 'name'>): Promise<void> {
    return this.#queue.write({ do: 'setNode', name, cordoned, draining, machine }, 'once');
  }

  maintenance(job: string): Promise<MaintenanceRecord | undefined> {
    return this.#queue.read({ do: 'maintenance', job });
  }

  maintenanceStarted(job: string, at: number): Promise<void> {
    return this.#queue.write({ do: 'maintenanceStarted', job, at }, 'once');
  }

  maintenanceEnded(job: string, at: number, ok: boolean, detail: string): Promise<void> {
    return this.#queue.write({ do: 'maintenanceEnded', job, at, ok, detail }, 'once');
  }
}
