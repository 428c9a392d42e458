import assert from 'node:assert/strict';
import type { Outcome } from '../../../src/model/outcome.ts';
import { type Changes, noChanges } from '../../../src/model/result.ts';
import { Placing } from '../../../src/model/placing.ts';
import type { Lease } from '../../../src/fleet/node/sandboxes.ts';
import { checkJob, type Job } from '../../../src/runs/job.ts';
import { SandboxState } from '../../../src/runs/sessions/sandbox-state.ts';
import { mayServeAgain, type SessionLimits, Sessions } from '../../../src/runs/sessions/sessions.ts';
import { aRequest } from '../../support/builders.ts';

const MiB = 1024 ** 2;
const roomy: SessionLimits = { most: 10, perTenant: 10, idleMs: 1_000, ageMs: 10_000, memory: 1 };

function setUp(limits: Partial<SessionLimits> = {}) {
  let now = 0;
  const released: string[] = [];
  const cordoned = new Set<string>();
  const node = (name: string) => ({ usable: !cordoned.has(name), memory: 2_048 * MiB });
  const sessions = new Sessions({ limits: { ...roomy, ...limits }, node, now: () => now });
  const ends = new Map<string, () => void>();
  const kept = (name: string, on = 'n', born = now) => {
    const closed = new Promise<void>((resolve) => ends.set(name, resolve));
    const lease = { sandbox: { closed }, release: () => Promise.resolve(void released.push(name)) };
    return { lease: lease as unknown as Lease, node: on, state: new SandboxState(), born };
  };
  return { sessions, kept, released, cordoned, ends, pass: (ms: number) => (now += ms) };
}

function job(session: string | undefined, { tenant = 'default', memory = 512 * MiB, filesBack = 10 } = {}): Job {
  const request = aRequest({ profile: { memory, filesBack } });
  return checkJob({ ...request, ...(session === undefined ? {} : { session }) }, Placing.parse({ tenant }));
}

describe('sessions', () => {
  it('give a sandbox to the next run of the same session, once', () => {
    const { sessions, kept, released } = setUp();
    const one = kept('one');
    sessions.keep(job('s'), one);
    assert.equal(sessions.take(job('other')), undefined);
    assert.equal(sessions.take(job('s', { tenant: 'b' })), undefined);
    assert.equal(sessions.take(job(undefined)), undefined);
    assert.equal(sessions.take(job('s'))?.lease, one.lease);
    assert.deepEqual([sessions.take(job('s')), released], [undefined, []]);
  });

  it('release what no longer fits: other limits, a cordoned node, an age', () => {
    for (const [name, spoil, asked] of [
      ['memory', () => undefined, job('s', { memory: 256 * MiB })],
      ['bounds of OPEN', () => undefined, job('s', { filesBack: 11 })],
      ['cordon', ({ cordoned }: ReturnType<typeof setUp>) => cordoned.add('n'), job('s')],
      ['age', ({ pass }: ReturnType<typeof setUp>) => pass(10_000), job('s')],
    ] as const) {
      const all = setUp();
      all.sessions.keep(job('s'), all.kept('one'));
      spoil(all);
      assert.deepEqual([all.sessions.take(asked), all.released], [undefined, ['one']], name);
    }
  });

  it('keep so many, of a tenant so many, on a node so much memory; the longest unused goes', () => {
    const most = setUp({ most: 2 });
    for (const name of ['a', 'b', 'c']) most.sessions.keep(job(name), most.kept(name));
    assert.deepEqual(most.released, ['a']);
    const tenants = setUp({ perTenant: 1 });
    for (const [name, tenant] of ['ax', 'bx', 'cy'].map((pair) => [pair[0] ?? '', pair[1] ?? ''] as const)) {
      tenants.sessions.keep(job(name, { tenant }), tenants.kept(name));
    }
    assert.deepEqual(tenants.released, ['a']);
    const memory = setUp({ memory: 0.5 });
    memory.sessions.keep(job('z'), memory.kept('z', 'elsewhere'));
    for (const name of ['a', 'b', 'c']) memory.sessions.keep(job(name), memory.kept(name));
    assert.deepEqual(memory.released, ['a']);
    const none = setUp({ most: 0 });
    none.sessions.keep(job('a'), none.kept('a'));
    assert.deepEqual(none.released, ['a']);
  });

  it('two runs of a session at once leave one sandbox', () => {
    const { sessions, kept, released } = setUp();
    sessions.keep(job('s'), kept('first'));
    sessions.keep(job('s'), kept('second'));
    assert.deepEqual([released, sessions.size], [['first'], 1]);
  });

  it('sweeping ends sandboxes that are unused for long, too old, or on a node that takes no runs', () => {
    const { sessions, kept, released, cordoned, pass } = setUp();
    sessions.keep(job('old'), kept('old', 'n', -9_500));
    sessions.keep(job('there'), kept('there', 'm'));
    pass(500);
    sessions.keep(job('new'), kept('new'));
    sessions.sweep();
    assert.deepEqual(released, ['old']);
    pass(600);
    cordoned.add('nobody');
    sessions.sweep();
    assert.deepEqual(released, ['old', 'there']);
    cordoned.add('n');
    sessions.sweep();
    assert.deepEqual(released, ['old', 'there', 'new']);
  });

  it('a sandbox that dies in between is let go', async () => {
    const { sessions, kept, released, ends } = setUp();
    sessions.keep(job('s'), kept('one'));
    ends.get('one')?.();
    await new Promise(setImmediate);
    assert.deepEqual([released, sessions.take(job('s'))], [['one'], undefined]);
  });

  it('make room where it helps, one at a time', () => {
    const { sessions, kept, released } = setUp();
    sessions.keep(job('a'), kept('a', 'n'));
    sessions.keep(job('b'), kept('b', 'm'));
    assert.deepEqual([sessions.makeRoom(() => false), sessions.makeRoom((node) => node === 'm')], [false, true]);
    assert.deepEqual(released, ['b']);
  });

  it('are over when they are closed, and keep nothing after that', async () => {
    const { sessions, kept, released } = setUp();
    sessions.keep(job('a'), kept('a'));
    await sessions.close();
    sessions.keep(job('b'), kept('b'));
    assert.deepEqual(released, ['a', 'b']);
  });

  it('a sandbox serves again only after an end that it survived whole, when all that it holds is known', () => {
    const after = (outcome: Outcome, more: Partial<Changes> = {}, collect = true) =>
      mayServeAgain({ collect }, { outcome, changes: { ...noChanges(), ...more } });
    const good: Outcome[] = [
      { kind: 'exited', code: 1 },
      { kind: 'signalled', signal: 11 },
      { kind: 'timed_out', clock: 'wall' },
    ];
    const bad: Outcome[] = [{ kind: 'out_of_memory' }, { kind: 'out_of_disk' }, { kind: 'cancelled' }, { kind: 'lost', reason: '' }];
    assert.deepEqual(
      [...good, ...bad].map((outcome) => after(outcome)),
      [true, true, true, false, false, false, false],
    );
    const exited: Outcome = { kind: 'exited', code: 0 };
    assert.deepEqual([after(exited, { omittedCount: 1 }), after(exited, {}, false)], [false, false]);
  });
});
