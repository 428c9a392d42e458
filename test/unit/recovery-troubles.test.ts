import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { until } from '../support/until.ts';
import { fakeService, placed, runOf } from '../support/fake-service.ts';

describe('cancelling a run that waits to be taken up again', () => {
  const folder = mkdtempSync(join(tmpdir(), 'katafleet-recovery-'));
  after(() => rmSync(folder, { recursive: true, force: true }));

  it('is owed where the journal’s disk is full, and it never runs', async () => {
    const file = join(folder, 'journal.db');
    const first = await fakeService(['a'], { file });
    const files = [{ path: 'f', content: Buffer.alloc(1_000) }];
    const ids: string[] = [];
    for (const name of ['one', 'two']) ids.push((await first.service.accept(runOf(['hold', name], { files }), placed())).id);
    await until(() => first.driver('a').holding === 2);
    await first.crash();

    const second = await fakeService(['a'], { file });
    assert.equal(await second.service.recover(1), 2, 'one is taken up, the other when that is over');
    await until(() => second.driver('a').holding === 1);
    const { journal, service } = second;
    const [, waits = ''] = ids;
    const write = journal.cancel.bind(journal);
    let room: (() => void) | undefined;
    journal.cancel = async (...of) => {
      await new Promise<void>((resolve) => (room = resolve));
      return write(...of);
    };
    const cancelled = service.cancel(waits);
    await until(() => room !== undefined);
    assert.equal((await service.look(waits)).endedAt, undefined, 'it is not told before it is written');
    room?.();
    assert.equal((await cancelled).state, 'cancelled');
    second.driver('a').letGo();
    await until(() => service.dispatcher.size === 0);
    assert.deepEqual(second.driver('a').executed, ['hold one']);
    await second.close();
  });
});

describe('a journal that is damaged at one run', () => {
  it('keeps nobody from taking up the others', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'katafleet-recovery-'));
    const file = join(folder, 'journal.db');
    const first = await fakeService(['a'], { file });
    const ids: string[] = [];
    for (const name of ['one', 'two']) ids.push((await first.service.accept(runOf(['hold', name]), placed())).id);
    await until(() => first.driver('a').holding === 2);
    await first.crash();

    const { journal, service, driver, close } = await fakeService(['a'], { file });
    const [damaged, whole = ''] = ids;
    const request = journal.request.bind(journal);
    const broken = () => Promise.reject(Object.assign(new Error('database disk image is malformed'), { code: 'SQLITE_CORRUPT' }));
    journal.request = (id) => (id === damaged ? broken() : request(id));
    journal.fail = broken;
    await service.recover(1);
    await until(() => driver('a').holding === 1);
    driver('a').letGo();
    assert.equal((await service.wait(whole, 30_000)).state, 'finished');
    await close();
    rmSync(folder, { recursive: true, force: true });
  });
});
