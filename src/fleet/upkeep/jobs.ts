import { listed } from '../../base/listed.ts';
import { messageOf } from '../../model/errors.ts';
import type { Fleet } from '../fleet.ts';
import type { MaintenanceJob } from './maintenance.ts';
import { prunePlan } from './prune.ts';

/** The part of the journal that upkeep needs. Times are Unix ms. */
export interface UpkeepRecords {
  /** Since when it remembers which images are used. */
  readonly since: number;
  /** When a run last asked for each image, by its canonical name. */
  imageUses(): Promise<ReadonlyMap<string, number>>;
  /** Forgets older results and events. Returns how many. */
  prune(before: { resultsBefore: number; eventsBefore: number }): Promise<{ runs: number; events: number }>;
}

export interface UpkeepRules {
  /** The schedule of each job, five or six fields of cron. If undefined, the job never runs by itself. */
  schedules: Readonly<Record<'inventory' | 'reap' | 'retention' | 'prune' | 'pools', string | undefined>>;
  /** How long results and events are kept, ms. */
  keepResultsMs: number;
  keepEventsMs: number;
  /** Removes katafleet's images that no run has used for this time, ms. If undefined, keeps them. */
  pruneAfterMs: number | undefined;
  /** Returns the names of images to keep. */
  keepImages: () => readonly string[];
}

/** How many containers or images the summary of a job names. */
const mostNamed = 20;

type UpkeepFleet = Pick<Fleet, 'refreshImages' | 'images' | 'all' | 'reap' | 'retarget' | 'nodes'>;

/** The jobs that keep a fleet and its journal in order. */
export function upkeepJobs(fleet: UpkeepFleet, records: UpkeepRecords, rules: UpkeepRules): MaintenanceJob[] {
  const { schedules } = rules;
  return [
    {
      name: 'inventory',
      what: 'asks every node for its images',
      schedule: schedules.inventory,
      run: async (dryRun) => {
        if (!dryRun) await fleet.refreshImages();
        return `${fleet.images().length} images on ${fleet.all.length} nodes`;
      },
    },
    {
      name: 'reap',
      what: 'removes containers that are no longer used',
      schedule: schedules.reap,
      run: async (dryRun) => {
        const found = (await fleet.reap(dryRun)).flatMap(({ node, doomed }) =>
          doomed.map(({ id, why }) => `${node} ${id.slice(0, 12)} (${why})`),
        );
        return `${found.length} containers ${dryRun ? 'would be removed' : 'removed'}${named(found)}`;
      },
    },
    {
      name: 'retention',
      what: 'forgets results and events whose time is over',
      schedule: schedules.retention,
      run: async (dryRun) => {
        const now = Date.now();
        const before = { resultsBefore: now - rules.keepResultsMs, eventsBefore: now - rules.keepEventsMs };
        if (dryRun) return `would forget results before ${new Date(before.resultsBefore).toISOString()}`;
        const { runs, events } = await records.prune(before);
        return `${runs} runs and ${events} events forgotten`;
      },
    },
    {
      name: 'prune',
      what: "removes katafleet's own images that are superseded or long unused",
      schedule: schedules.prune,
      run: async (dryRun) => {
        const pruned = await pruneImages(fleet, records, rules, dryRun);
        return `${pruned.length} images ${dryRun ? 'would go' : 'gone'}${named(pruned)}`;
      },
    },
    {
      name: 'pools',
      what: 'shares the idle sandboxes out over the nodes anew',
      schedule: schedules.pools,
      run: async (dryRun) => {
        const pools = dryRun ? [] : await fleet.retarget();
        const idle = fleet.nodes().reduce((sum, node) => sum + node.sandboxes.idle, 0);
        return dryRun ? `${idle} idle sandboxes` : `${pools.length} pools, ${idle} idle sandboxes`;
      },
    },
  ];
}

const named = (things: readonly string[]) => (things.length > 0 ? `: ${listed(things, mostNamed)}` : '');

/** Removes unused images from each ready node. Returns the removed ones, and those that could not be removed, in words. */
async function pruneImages(
  fleet: UpkeepFleet,
  records: UpkeepRecords,
  { pruneAfterMs, keepImages }: UpkeepRules,
  dryRun: boolean,
): Promise<string[]> {
  const uses = await records.imageUses();
  const rules = {
    now: Date.now(),
    afterMs: pruneAfterMs,
    keep: keepImages(),
    lastUsed: (name: string) => uses.get(name),
    since: records.since,
  };
  const lines: string[] = [];
  for (const { settings, sandboxes, driver, state } of fleet.all) {
    if (state !== 'ready' || !driver.removeImage) continue;
    for (const { name, why } of prunePlan(sandboxes.images, rules)) {
      try {
        if (!dryRun) await driver.removeImage(name);
        lines.push(`${settings.name} ${name} (${why})`);
      } catch (error) {
        lines.push(`${settings.name} ${name} stays: ${messageOf(error)}`);
      }
    }
    if (!dryRun) await sandboxes.refreshImages();
  }
  return lines;
}
