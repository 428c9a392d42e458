import { z } from 'zod';
import { FleetImage } from './fleet-image.ts';
import { MaintenanceState } from './maintenance-state.ts';
import { NodeEvent, NodeSummary } from './node.ts';
import { readState, RunState, RunSummary } from './record.ts';

/** How many rows a list has at most. */
const limit = (usual: number) => z.coerce.number().int().min(1).max(1_000).default(usual);
const nothing = z.object({});

/**
 * The API's read-only lists: what each takes as its query and what it answers. The compiler asks src/http/views.ts for the code
 * of each; src/client/ reads any of them by its path.
 */
export const views = {
  '/v1/runs': {
    query: z.object({
      limit: limit(50),
      state: RunState.optional(),
      tenant: z.string().max(128).optional(),
      /** The image as the request named it. */
      image: z.string().max(512).optional(),
      /** The idempotency key. */
      key: z.string().max(255).optional(),
      /** Accepted at this time or later, and before that; Unix ms. */
      since: z.coerce.number().optional(),
      until: z.coerce.number().optional(),
      /** A cursor: `next` of the page before. */
      before: z.coerce.number().int().min(0).optional(),
    }),
    answer: z.object({
      /** Newest first. */
      runs: z.array(RunSummary.transform(readState)),
      /** How many runs there are in each state. */
      counts: z.record(z.string(), z.number()),
      /** The cursor of the next page; absent at the end. */
      next: z.number().exactOptional(),
    }),
  },
  '/v1/images': { query: nothing, answer: z.object({ images: z.array(FleetImage) }) },
  '/v1/nodes': { query: nothing, answer: z.object({ nodes: z.array(NodeSummary) }) },
  '/v1/events': {
    query: z.object({ node: z.string().max(128).optional(), limit: limit(100) }),
    /** Newest first. */
    answer: z.object({ events: z.array(NodeEvent) }),
  },
  '/v1/maintenance': { query: nothing, answer: z.object({ jobs: z.array(MaintenanceState) }) },
} as const satisfies Record<string, { query: z.ZodObject; answer: z.ZodObject }>;

export type ViewPath = keyof typeof views;
/** A query whose defaults are filled in. */
export type ViewQuery<P extends ViewPath> = z.output<(typeof views)[P]['query']>;
export type ViewAnswer<P extends ViewPath> = z.output<(typeof views)[P]['answer']>;
