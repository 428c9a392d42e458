import type { IncomingMessage, ServerResponse } from 'node:http';
import type { z } from 'zod';
import type { Fleet, CordonAction } from '../fleet/fleet.ts';
import type { Maintenance } from '../fleet/upkeep/maintenance.ts';
import type { Profile } from '../model/profile.ts';
import type { KatafleetStore } from '../model/run-store.ts';
import type { RunService } from '../runs/service.ts';

/** A profile's name, or the fields that differ from the default profile's. */
export type GivenProfile = string | z.input<typeof Profile> | undefined;

/** What the API's handlers call. */
export interface AppServices {
  fleet: Fleet;
  runs: RunService;
  maintenance: Maintenance;
  /** Returns the profile that a request means. @throws limits.invalid for an unknown name */
  profile: (given: GivenProfile) => z.input<typeof Profile>;
  /** How long a run waits in the queue if its request does not say, ms. */
  queueMs: number;
  /** Bytes that an idle sandbox books. */
  idleMemory: number;
  /** Cordons, drains or uncordons `NODE`, or `NODE/MACHINE` for one machine of a swarm. */
  cordon: (name: string, how: CordonAction) => Promise<void>;
  journal: JournalViews;
  /** Whether the journal takes writes: if not, no run is accepted. */
  takes: () => boolean;
  /** Whether katafleet is stopping. */
  stopping: () => boolean;
  /** Answers git's requests for a kata's repositories. Returns false for any other path and leaves the request alone. */
  clones: (path: string, request: IncomingMessage, response: ServerResponse) => Promise<boolean>;
}

/** What the API reads from the journal. */
export type JournalViews = Pick<KatafleetStore, 'list' | 'counts' | 'events'>;
