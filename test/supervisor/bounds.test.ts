import assert from 'node:assert/strict';
import { PipedSupervisor } from '../support/supervisor.ts';

/** Fourteen levels of 255 bytes that are no UTF-8, and in them so many empty folders. */
const manyFolders = (count: number) => `
  name=$(printf '%0255d' 0 | tr 0 '\\377')
  for level in 1 2 3 4 5 6 7 8 9 10 11 12 13 14; do mkdir "$name" && cd "$name"; done
  seq -f '%0254g' ${count} | xargs mkdir
  echo made`;

describe('supervisor: bounds on what is left behind', () => {
  it('tells empty folders beyond the number of files as omitted', async () => {
    await using supervisor = await (await PipedSupervisor.start()).open({ filesBack: 20 });
    const result = await supervisor.run(['sh', '-c', 'seq 1 1500 | xargs mkdir']);
    assert.deepEqual(result.outcome, { kind: 'exited', code: 0 });
    const { folders, omitted, omittedCount } = await supervisor.collect({ filesBack: 20 });
    assert.deepEqual([folders.length, omitted.length, omittedCount], [20, 1_000, 1_480]);
    assert.ok(omitted.every(({ reason }) => reason === 'too_many'));
  });

  it('outlives more names than it remembers, and goes on', async () => {
    const profile = { filesBack: 100_000 };
    await using supervisor = await (await PipedSupervisor.start()).open(profile);
    const made = await supervisor.run(['sh', '-c', manyFolders(17_600)], {}, { wallMs: 60_000 });
    assert.equal(made.stdout.toString(), 'made\n');
    const changes = await supervisor.collect(profile);
    const names = changes.folders.reduce((sum, { path }) => sum + path.length, 0);
    assert.ok(names <= 8 * 1024 * 1024 && names > 7 * 1024 * 1024, `${names} bytes of names`);
    assert.equal(changes.folders.length + changes.omittedCount, 17_600);
    const next = await supervisor.run(['sh', '-c', 'echo x > file']);
    assert.deepEqual(next.outcome, { kind: 'exited', code: 0 });
    const after = await supervisor.collect(profile);
    assert.deepEqual([after.files.length, after.deleted.length], [1, 0]);
    assert.equal(after.folders.length + after.omittedCount, changes.omittedCount, 'what did not come back is told again');
  });
});
