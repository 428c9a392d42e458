import assert from 'node:assert/strict';
import { z } from 'zod';
import { youngerFields } from '../../src/model/younger.ts';

const Step = z.object({ wallMs: z.number(), nearMemory: z.boolean().default(false), told: z.array(z.string()).default(() => []) });
const Result = z.object({ id: z.string(), steps: z.array(Step), changes: z.object({ folders: z.array(z.object({ path: z.string() })) }) });

describe('fields that are younger than a record', () => {
  const withYounger = youngerFields(Result);

  it('have their default where the record lacks them, at any depth', () => {
    const old = { id: 'r', steps: [{ wallMs: 1 }, { wallMs: 2, nearMemory: true }], changes: { folders: [{ path: 'x' }] } };
    assert.deepEqual(withYounger(old), {
      id: 'r',
      steps: [
        { wallMs: 1, nearMemory: false, told: [] },
        { wallMs: 2, nearMemory: true, told: [] },
      ],
      changes: { folders: [{ path: 'x' }] },
    });
  });

  it('do not share a default', () => {
    const { steps } = withYounger({ steps: [{}, {}] as { told?: string[] }[] });
    steps[0]?.told?.push('one');
    assert.deepEqual(steps[1]?.told, []);
  });

  it('cost no look at lists that can lack none', () => {
    const folders = new Proxy([], { get: () => assert.fail('it is looked at') });
    withYounger({ id: 'r', steps: [], changes: { folders } });
  });

  it('are none where no field has a default: the value is not looked at', () => {
    const nothing = youngerFields(z.object({ id: z.string(), inner: z.object({ n: z.number().optional() }).optional() }));
    const value = new Proxy({}, { get: () => assert.fail('it is looked at') });
    assert.equal(nothing(value), value);
  });

  it('leave values that are not objects unchanged', () => {
    assert.deepEqual(withYounger({ id: 'r', steps: 'none' }), { id: 'r', steps: 'none' });
  });
});
