import { z } from 'zod';

/** A maintenance job: when it runs and how its last run went. Times are Unix ms. */
export const MaintenanceState = z.object({
  name: z.string(),
  what: z.string(),
  /** Fields of cron in the machine's time zone; absent for a job that never runs by itself. */
  schedule: z.string().optional(),
  running: z.boolean(),
  next: z.number().optional(),
  startedAt: z.number().optional(),
  endedAt: z.number().optional(),
  outcome: z.string().optional(),
  detail: z.string().optional(),
});
export type MaintenanceState = z.output<typeof MaintenanceState>;
