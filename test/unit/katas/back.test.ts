import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseRules } from '../../../src/katas/rules.ts';
import { KataRecord } from '../../../src/katas/record.ts';
import { readStartPoint } from '../../../src/katas/start-point.ts';
import { created, file, result, startPoint, testStore } from '../../support/katas.ts';

const given = { files: [file('cyber-dojo.sh', 'make test'), file('hiker.c', 'int y;')] };

describe('katas: what tests bring back', () => {
  it('is what kata.yaml says, one glob or several', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'katafleet-start-'));
    try {
      const { manifest } = startPoint();
      await writeFile(join(folder, 'manifest.json'), JSON.stringify(manifest));
      for (const { path, content } of startPoint().files) await writeFile(join(folder, path), content);
      await writeFile(join(folder, 'kata.yaml'), "rules: [{ hide: '*.o' }]\nback: ['*.gcov', out/]\n");
      assert.deepEqual((await readStartPoint(folder)).rules.back, ['*.gcov', 'out/']);
      assert.deepEqual(parseRules("back: '*.gcov'", 'kata.yaml').back, ['*.gcov']);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it('is asked of each of its runs, and kept with the kata', async () => {
    const store = await testStore();
    try {
      const { id } = await store.katas.create(startPoint({ back: ['*.gcov', 'out/'] }));
      store.script.run = () => Promise.resolve(result({ files: [created('a.gcov')] }));
      const { shown } = await store.katas.test(id, 'lion', given);
      assert.deepEqual(store.requests[0]?.back, ['*.gcov', 'out/']);
      assert.deepEqual(
        shown.files.map(({ path }) => path),
        ['a.gcov'],
      );
      const [kata] = await store.katas.list();
      assert.deepEqual(kata?.kata.rules.back, ['*.gcov', 'out/']);
    } finally {
      await store.dispose();
    }
  });

  it('is all where nothing is said, as of katas of older releases', async () => {
    const store = await testStore();
    try {
      const { id } = await store.katas.create(startPoint());
      await store.katas.test(id, 'lion', given);
      assert.ok(store.requests[0] && !('back' in store.requests[0]));
      const [kata] = await store.katas.list();
      assert.ok(!('back' in (kata?.kata.rules ?? {})), 'an older release reads it');
      assert.ok(KataRecord.safeParse(kata?.kata).success);
    } finally {
      await store.dispose();
    }
  });

  for (const [what, back] of [
    ['no glob', '[]'],
    ['a glob that goes up', "'../x'"],
    ['a part that is more than **', "'a**'"],
    ['more than a supervisor takes', JSON.stringify(Array.from({ length: 5 }, (_, at) => `${'x'.repeat(450)}${at}`))],
  ] as const) {
    it(`${what} is refused`, () => {
      assert.throws(() => parseRules(`back: ${back}`, 'kata.yaml'), { code: 'kata.invalid', message: /back/ });
    });
  }
});
