import assert from 'node:assert/strict';
import type { Katafleet } from '../../src/app/library.ts';
import { stdout, testFleet } from '../support/fleet.ts';

describe('what shall come back, in real containers', () => {
  let fleet: Katafleet;
  before(() => (fleet = testFleet()));
  after(() => fleet.close());

  const run = (script: string, more: object = {}) =>
    fleet.run({ image: 'build-essential', files: [], steps: [{ argv: ['bash', '-c', script] }], ...more });

  it('is not pushed out by a folder full of files that nobody wants', async () => {
    const script = 'mkdir node_modules; for i in $(seq 30); do echo > node_modules/$i; done; echo ok > results.xml';
    const { changes } = await run(script, { back: ['results.xml'], profile: { filesBack: 10 } });
    assert.deepEqual([changes.files.map(({ path }) => path), changes.omittedCount], [['results.xml'], 0]);
    const all = await run(script, { profile: { filesBack: 10 } });
    assert.ok(
      all.changes.files.every(({ path }) => path !== 'results.xml'),
      'without globs it is',
    );
  });

  it('does not hide from a session what a program did to the files that were given', async () => {
    const files = [{ path: 'given', content: Buffer.from('as it was\n') }];
    await run('echo spoiled > given', { files, session: 'back', back: ['*.xml'] });
    const next = await run('cat given; echo more > made', { files, session: 'back' });
    assert.deepEqual([next.resumed, stdout(next), next.changes.files.map(({ path }) => path)], [true, 'as it was\n', ['made']]);
  });

  it('is refused where a glob is none', async () => {
    await assert.rejects(run('true', { back: ['a//b'] }), { code: 'request.invalid' });
  });
});
