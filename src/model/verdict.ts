import { z } from 'zod';

/** Why a node does not take a run. `permanent`: no change of load or health can mend it. */
export const Reason = z.object({ code: z.string(), permanent: z.boolean(), text: z.string() });
export type Reason = z.output<typeof Reason>;

const common = {
  node: z.string(),
  /** Why sandboxes that were asked for there have not come, in the node's own words. */
  troubles: z.array(z.string()).exactOptional(),
};

/** Whether a node can take a run, and why. */
export const NodeVerdict = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('passes'),
    ...common,
    /** Whether the run would go there now. */
    chosen: z.boolean(),
    /** What is compared among the nodes that pass, in this order. */
    ranks: z.array(z.object({ rank: z.string(), detail: z.string() })),
  }),
  z.object({ kind: z.literal('passed_over'), ...common, reasons: z.array(Reason) }),
]);
export type NodeVerdict = z.output<typeof NodeVerdict>;
