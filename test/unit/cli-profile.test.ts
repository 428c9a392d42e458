import assert from 'node:assert/strict';
import { onOwnProfile, onProfile } from '../../src/cli/profile.ts';
import { profileOf } from '../../src/model/profile.ts';

const MiB = 1024 ** 2;

describe('a kata’s test on a named profile', () => {
  // What a kata asks for by itself: its bounds on files, and its start-point's time.
  const request = { image: 'i', files: [], steps: [{ argv: ['x'] }], profile: { filesBack: 2_000, fileBack: 8 * MiB, wallMs: 3_000 } };
  const profile = profileOf({ memory: 64 * MiB, filesBack: 5, wallMs: 9_000 });

  it('has the profile’s limits here and on a server alike, but for the start-point’s time', () => {
    assert.deepEqual(onOwnProfile(request, profile, {}).profile, { ...profile, wallMs: 3_000 });
    const there = onProfile(request, 'small');
    assert.deepEqual([there.profile, there.steps[0]?.limits], ['small', { wallMs: 3_000 }]);
  });

  it('has the limits of --limit on top of both', () => {
    const { filesBack, wallMs, memory } = onOwnProfile(request, profile, { filesBack: 7, wallMs: 4_000 }).profile ?? {};
    assert.deepEqual([filesBack, wallMs, memory], [7, 4_000, 64 * MiB]);
  });
});
