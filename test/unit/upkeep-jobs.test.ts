import assert from 'node:assert/strict';
import { upkeepJobs, type UpkeepRecords, type UpkeepRules } from '../../src/fleet/upkeep/jobs.ts';
import { KatafleetError } from '../../src/model/errors.ts';
import { labels } from '../../src/model/labels.ts';

const day = 86_400_000;
const rules: UpkeepRules = {
  schedules: { inventory: '*/5 * * * *', reap: undefined, retention: undefined, prune: undefined, pools: undefined },
  keepResultsMs: 7 * day,
  keepEventsMs: 30 * day,
  pruneAfterMs: undefined,
  keepImages: () => [],
};
const superseded = (id: string) => ({ id, tags: [], digests: [], size: 1, created: 0, labels: { [labels.recipe]: 'gcc' } });

/** A fleet of nodes with images of ours that a later build has superseded, and what was asked of it. */
function fleetOf(nodes: Readonly<Record<string, { ids: string[]; state?: string; fails?: boolean }>>, doomed: string[] = []) {
  const asked: string[] = [];
  const all = Object.entries(nodes).map(([name, { ids, state = 'ready', fails = false }]) => ({
    settings: { name },
    state,
    sandboxes: { images: ids.map(superseded), refreshImages: async () => asked.push(`${name} refreshes`) },
    driver: {
      removeImage: async (id: string) => {
        if (fails) throw new KatafleetError('engine.failed', 'it is in use');
        asked.push(`${name} removes ${id}`);
      },
    },
  }));
  const reap = async () => [{ node: 'a', doomed: doomed.map((id) => ({ id, why: 'expired' })) }];
  return { asked, fleet: { all, reap } as unknown as Parameters<typeof upkeepJobs>[0] };
}

const records = (): UpkeepRecords & { pruned: { resultsBefore: number; eventsBefore: number }[] } => {
  const pruned: { resultsBefore: number; eventsBefore: number }[] = [];
  return {
    pruned,
    since: 0,
    imageUses: () => Promise.resolve(new Map()),
    prune: async (before) => {
      pruned.push(before);
      return { runs: 3, events: 4 };
    },
  };
};

const jobOf = (name: string, fleet: Parameters<typeof upkeepJobs>[0], kept: UpkeepRecords = records()) => {
  const job = upkeepJobs(fleet, kept, rules).find((one) => one.name === name);
  assert.ok(job);
  return job;
};

describe('upkeep jobs', () => {
  it('come round when the rules say, or never by themselves', () => {
    const jobs = upkeepJobs(fleetOf({}).fleet, records(), rules);
    assert.deepEqual(
      jobs.map(({ name, schedule }) => [name, schedule]),
      [
        ['inventory', '*/5 * * * *'],
        ['reap', undefined],
        ['retention', undefined],
        ['prune', undefined],
        ['pools', undefined],
      ],
    );
  });

  it('prune removes what is superseded from ready nodes only, and looks at their images again', async () => {
    const { fleet, asked } = fleetOf({ a: { ids: ['x', 'y'] }, b: { ids: ['z'], state: 'down' } });
    assert.match(await jobOf('prune', fleet).run(false), /^2 images gone: a x \(.*\), a y \(/);
    assert.deepEqual(asked, ['a removes x', 'a removes y', 'a refreshes']);
  });

  it('prune only says what would go when it is tried out', async () => {
    const { fleet, asked } = fleetOf({ a: { ids: ['x'] } });
    assert.match(await jobOf('prune', fleet).run(true), /^1 images would go: a x \(/);
    assert.deepEqual(asked, []);
  });

  it('prune goes on with the next node when an image cannot be removed, and says why', async () => {
    const { fleet, asked } = fleetOf({ a: { ids: ['x'], fails: true }, b: { ids: ['y'] } });
    assert.match(await jobOf('prune', fleet).run(false), /a x stays: it is in use, b y \(/);
    assert.deepEqual(asked, ['a refreshes', 'b removes y', 'b refreshes']);
  });

  it('reap names the first 20 containers and says how many more there are', async () => {
    const ids = Array.from({ length: 23 }, (_, index) => `container${index}`);
    const said = await jobOf('reap', fleetOf({}, ids).fleet).run(true);
    assert.match(said, /^23 containers would be removed: a container0 \(expired\), .*a container19 \(expired\) and 3 more$/);
  });

  it('retention forgets results and events by their own times, and nothing when it is tried out', async () => {
    const kept = records();
    const retention = jobOf('retention', fleetOf({}).fleet, kept);
    assert.match(await retention.run(true), /^would forget results before \d{4}-/);
    assert.equal(kept.pruned.length, 0);
    assert.equal(await retention.run(false), '3 runs and 4 events forgotten');
    const [before] = kept.pruned;
    assert.equal((before?.resultsBefore ?? 0) - (before?.eventsBefore ?? 0), 23 * day);
  });
});
