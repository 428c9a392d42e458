import assert from 'node:assert/strict';
import { Memo, MemoMap } from '../../../src/base/memo.ts';

/** A question that is answered by hand, any number of times. */
function question() {
  const asked: { resolve: (answer: string) => void; reject: (error: Error) => void }[] = [];
  const ask = () => new Promise<string>((resolve, reject) => asked.push({ resolve, reject }));
  return { asked, ask };
}

describe('Memo', () => {
  it('asks once for all callers, during the call and after it', async () => {
    const { asked, ask } = question();
    const memo = new Memo(ask);
    assert.equal(memo.current, undefined);
    const both = Promise.all([memo.get(), memo.get()]);
    asked[0]?.resolve('yes');
    assert.deepEqual(await both, ['yes', 'yes']);
    assert.equal(await memo.get(), 'yes');
    assert.equal(asked.length, 1);
  });

  it('asks again after a failure, which all callers get', async () => {
    const { asked, ask } = question();
    const memo = new Memo(ask);
    const both = [memo.get(), memo.get()];
    asked[0]?.reject(new Error('no'));
    for (const one of both) await assert.rejects(one, /no/);
    assert.equal(memo.current, undefined);
    const next = memo.get();
    asked[1]?.resolve('yes');
    assert.equal(await next, 'yes');
  });

  it('keeps the younger answer when one that was forgotten fails', async () => {
    const { asked, ask } = question();
    const memo = new Memo(ask);
    const first = memo.get();
    memo.forget();
    const second = memo.get();
    asked[0]?.reject(new Error('no'));
    await assert.rejects(first, /no/);
    asked[1]?.resolve('yes');
    assert.equal(await second, 'yes');
    assert.equal(await memo.get(), 'yes');
    assert.equal(asked.length, 2);
  });
});

describe('MemoMap', () => {
  it('asks once for each key, and anew after a failure', async () => {
    const { asked, ask } = question();
    const memo = new MemoMap<string, string>();
    const [a, b] = [memo.get('a', ask), memo.get('b', ask)];
    asked[0]?.reject(new Error('no'));
    asked[1]?.resolve('yes');
    await assert.rejects(a, /no/);
    assert.equal(await b, 'yes');
    assert.equal(await memo.get('b', ask), 'yes');
    assert.equal(asked.length, 2);
    void memo.get('a', ask);
    assert.equal(asked.length, 3);
  });

  it('drops the oldest answer above its bound', async () => {
    const { asked, ask } = question();
    const memo = new MemoMap<string, string>(2);
    for (const key of ['a', 'b', 'c']) void memo.get(key, ask);
    void memo.get('c', ask);
    assert.equal(asked.length, 3);
    void memo.get('a', ask);
    assert.equal(asked.length, 4);
  });
});
