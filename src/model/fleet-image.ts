import { z } from 'zod';

/** An image over the whole fleet: what a page that offers images needs to know. `GET /v1/images` answers with these. */
export const FleetImage = z.object({
  /** Its first tag, else its id. */
  name: z.string(),
  /** Ids under that name; more than one when nodes hold different builds. */
  ids: z.array(z.string()),
  /** Bytes, of the largest build. */
  size: z.number(),
  labels: z.record(z.string(), z.string()).readonly(),
  /** Nodes that can run it now. */
  ready: z.array(z.string()),
  /** Nodes that have it and are not ready: down, cordoned. */
  waiting: z.array(z.string()),
  /** Ready nodes that lack it and to which it can be copied. */
  obtainable: z.array(z.string()),
  /** Nodes that lack it, and why it cannot be copied to them. */
  unable: z.array(z.object({ node: z.string(), why: z.string() })),
});
export type FleetImage = z.output<typeof FleetImage>;
