import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { labels } from '../../src/model/labels.ts';
import { defaultUids, holdsUids, mostUids, parseUids, type Uids, uidsInWords } from '../../src/model/users.ts';
import { declared } from '../../src/drivers/docker/image-labels.ts';
import { adaptedAccounts, namesAll } from '../../src/drivers/docker/names.ts';
import { type HeldUid, longestLifeMs, UidBook } from '../../src/fleet/node/uids.ts';

describe('uids of sandboxes', () => {
  it('of the default range are within a remapped engine’s range, and no system user has them', () => {
    const last = defaultUids.first + defaultUids.count - 1;
    assert.ok(defaultUids.first > 10_000 && last < 60_001, 'people, systemd, nobody');
    assert.ok(!holdsUids(defaultUids, { first: 41_966, count: 1 }), 'cyber-dojo’s images');
  });

  it('are read as they are written, and nothing else is', () => {
    const ranges = fc.record({ first: fc.integer({ min: 1, max: 2 ** 32 - 3 - mostUids }), count: fc.integer({ min: 1, max: mostUids }) });
    fc.assert(fc.property(ranges, (uids) => assert.deepEqual(parseUids(uidsInWords(uids)), { ...uids })));
    for (const text of ['', '5', '0-5', '9-8', '1-4097', '4294967290-4294967295', '1-2-3', ' 1-2', '-1-2', '1e3-2000']) {
      assert.equal(parseUids(text), undefined, text);
    }
  });

  it('are never shared by two living sandboxes of a machine, whatever happens', () => {
    const run = fc.array(fc.record({ machine: fc.constantFrom('a', 'b'), back: fc.nat() }), { maxLength: 60 });
    fc.assert(
      fc.property(run, fc.integer({ min: 20, max: 40 }), (calls, count) => {
        const book = new UidBook({ first: 100, count });
        const living = new Map<string, HeldUid[]>([
          ['a', []],
          ['b', []],
        ]);
        for (const { machine, back } of calls) {
          const own = living.get(machine) ?? [];
          if (own.length === count || (own.length > 0 && back % 3 === 0)) {
            for (const held of own.splice(back % own.length, 1)) held.giveBack();
            continue;
          }
          const held = book.take(machine);
          const others = own.map(({ uid }) => uid);
          assert.ok(held.uid >= 100 && held.uid < 100 + count && !others.includes(held.uid), `${held.uid} of ${others.join()}`);
          own.push(held);
        }
      }),
    );
  });

  it('are given out again where there are more sandboxes than uids', () => {
    const book = new UidBook({ first: 7, count: 3 });
    const taken = Array.from({ length: 6 }, () => book.take('a').uid);
    assert.deepEqual(taken.slice(3), taken.slice(0, 3), 'the one that was given out longest ago');
    assert.equal(new Set(taken).size, 3);
  });

  it('given back are not the next', () => {
    const book = new UidBook(defaultUids);
    const held = book.take('a');
    held.giveBack();
    assert.notEqual(book.take('a').uid, held.uid);
  });

  it('are in use until each sandbox that shares them has returned them once', () => {
    const book = new UidBook({ first: 7, count: 2 });
    const [one, two, sharing] = [book.take('a'), book.take('a'), book.take('a')];
    assert.equal(sharing.uid, one.uid);
    one.giveBack();
    one.giveBack();
    two.giveBack();
    assert.equal(book.take('a').uid, two.uid, 'the other is still somebody’s');
    sharing.giveBack();
    assert.equal(book.take('a').uid, one.uid);
  });

  it('of a lost node are given out again when its sandboxes must have ended, and the node’s return does not free them', () => {
    let now = 0;
    const book = new UidBook({ first: 7, count: 2 }, () => now);
    const lost = book.take('a');
    now = longestLifeMs - 1;
    const [other, sharing] = [book.take('a'), book.take('a')];
    assert.notEqual(other.uid, lost.uid);
    sharing.giveBack();
    now = longestLifeMs;
    const again = book.take('a');
    assert.equal(again.uid, lost.uid);
    other.giveBack();
    lost.giveBack(); // the node is back, and tells
    assert.equal(book.take('a').uid, other.uid, 'the new one still has its own');
  });

  it('of removed machines are forgotten', () => {
    let now = 0;
    const book = new UidBook({ first: 7, count: 2 }, () => now);
    const kept = book.take('kept');
    for (let machine = 0; machine < 3_000; machine += 1) book.take(`machine ${machine}`).giveBack();
    assert.ok(book.machines <= 1_000, String(book.machines));
    assert.notEqual(book.take('kept').uid, kept.uid);
    for (let machine = 0; machine < 3_000; machine += 1) book.take(`lost ${machine}`);
    now = longestLifeMs;
    book.take('next');
    assert.equal(book.machines, 1);
  });
});

describe('names of sandboxes’ users in images', () => {
  const uids: Uids = { first: 500, count: 2 };

  it('are added in front of the image’s own, with a group', () => {
    const made = adaptedAccounts({ passwd: 'root:x:0:0::/root:/bin/sh', group: 'root:x:0:' }, {}, uids);
    assert.equal(made.passwd, 'sandbox:x:500:51966::/tmp:/bin/sh\nsandbox:x:501:51966::/tmp:/bin/sh\nroot:x:0:0::/root:/bin/sh\n');
    assert.equal(made.group, 'root:x:0:\nsandbox:x:51966:\n');
    assert.deepEqual(made.labels, { [labels.uids]: '500-501' });
    assert.equal(adaptedAccounts({ passwd: '', group: made.group }, {}, uids).group, made.group, 'not twice');
    assert.deepEqual(adaptedAccounts({ passwd: undefined, group: undefined }, {}, uids).passwd, undefined, 'what is no file stays');
  });

  it('an image that knows cyber-dojo’s user keeps it, but for recipes of ours', () => {
    const passwd = 'sandbox:x:41966:51966::/home/sandbox:/bin/bash\n';
    const made = adaptedAccounts({ passwd, group: '' }, {}, uids).labels;
    assert.deepEqual(declared(made, 'x').user, { uid: 41_966, gid: 51_966 });
    assert.equal(declared(adaptedAccounts({ passwd, group: '' }, { [labels.recipe]: 'gcc' }, uids).labels, 'x').user, undefined);
    assert.equal(declared({}, 'x').user, undefined);
    for (const text of ['0:5', '5:0', '5', 'root:root', '99999999999:1'])
      assert.throws(() => declared({ [labels.user]: text }, 'x'), /UID:GID/);
  });

  it('are there for a range where the label covers it', () => {
    assert.ok(namesAll({ [labels.uids]: '400-501' }, uids) && namesAll({ [labels.user]: '9:9' }, uids));
    assert.ok(!namesAll({ [labels.uids]: '501-900' }, uids) && !namesAll({ [labels.uids]: 'all' }, uids) && !namesAll({}, uids));
  });

  it('in our own recipes are those of the default range', () => {
    const dockerfile = readFileSync(new URL('../../images/build-essential/Dockerfile', import.meta.url), 'utf8');
    assert.ok(dockerfile.includes(`LABEL ${labels.uids}=${uidsInWords(defaultUids)}\n`));
    assert.ok(dockerfile.includes(`51966::/tmp:/bin/bash' ${uidsInWords(defaultUids).replace('-', ' ')} |`));
  });
});
