import assert from 'node:assert/strict';
import { PassThrough, Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { exitOf, report } from '../../src/cli/commands/distribute.ts';
import { lineOf, progress, TransferView } from '../../src/cli/show/transfers.ts';
import { KatafleetError } from '../../src/model/errors.ts';
import type { NodeImage } from '../../src/drivers/contract.ts';
import { copyImage } from '../../src/fleet/inventory/copy.ts';
import { type CopyEvent, deliver, type DeliverOptions } from '../../src/images/deliver.ts';
import { type ReceivingNode, type PlannedStep, planDistribution } from '../../src/images/distribute.ts';

const image = (tag: string, labels: Record<string, string> = {}, id = `sha256:${tag}`): NodeImage => ({
  id,
  tags: [tag],
  digests: [],
  size: 1_000,
  labels,
});
const made = (name: string, hash = '1') => image(`katafleet/${name}:latest`, { 'katafleet.recipe': name, 'katafleet.recipe-hash': hash });
const node = (name: string, images: NodeImage[], other: Partial<ReceivingNode> = {}): ReceivingNode => ({
  name,
  ready: true,
  trouble: '',
  architecture: 'amd64',
  images,
  exports: true,
  imports: true,
  ...other,
});

describe('planning a distribution', () => {
  const planned = (nodes: ReceivingNode[], wish: { images?: string[]; to?: string[] } = {}) =>
    planDistribution(nodes, { images: [], to: [], ...wish }).map(
      (step) => `${step.image} ${step.node} ${step.kind} ${step.kind === 'bring' ? step.from.join('+') : step.why}`,
    );

  it('brings each of katafleet’s images to each node that lacks it, from those that have it', () => {
    const server = image('katafleet/katafleet:latest', { 'katafleet.recipe': 'katafleet', 'katafleet.service': 'yes' });
    const nodes = [
      node('a', [made('x'), image('postgres:16'), image('katafleet/adapted:1'), server]),
      node('b', [made('x'), made('y')]),
      node('c', []),
    ];
    assert.deepEqual(planned(nodes, { images: ['katafleet'], to: ['c'] }), ['katafleet/katafleet:latest c bring a']);
    assert.deepEqual(planned(nodes), [
      'katafleet/x:latest a keep it has it',
      'katafleet/x:latest b keep it has it',
      'katafleet/x:latest c bring a+b',
      'katafleet/y:latest a bring b',
      'katafleet/y:latest b keep it has it',
      'katafleet/y:latest c bring b',
    ]);
  });

  it('takes any image by the names that people use, and only the nodes that were named', () => {
    const nodes = [node('a', [made('x'), image('postgres:16')]), node('b', []), node('c', [])];
    assert.deepEqual(planned(nodes, { images: ['x', 'docker.io/library/postgres:16'], to: ['c'] }), [
      'katafleet/x:latest c bring a',
      'postgres:16 c bring a',
    ]);
  });

  it('says why not: down, another architecture, another build, no way in or out', () => {
    const down = { ready: false, trouble: 'no engine answers' };
    const nodes = [
      node('a', [made('x')]),
      node('down', [], down),
      node('arm', [], { architecture: 'arm64' }),
      node('old', [made('x', '0')]),
      node('shut', [], { imports: false }),
    ];
    const expected = (kind: string) => [
      'katafleet/x:latest a keep it has another build than old: remove that build first',
      'katafleet/x:latest down unable no engine answers',
      `katafleet/x:latest arm ${kind} the node is arm64, the image amd64`,
      'katafleet/x:latest old keep it has another build than a: remove that build first',
      'katafleet/x:latest shut unable images can’t be copied to it',
    ];
    assert.deepEqual(planned(nodes), expected('leave'));
    assert.deepEqual(planned(nodes, { to: nodes.map(({ name }) => name) }), expected('unable'), 'it was asked for by name');
    assert.deepEqual(
      planned([node('a', [made('x')], down), node('b', [])])[1],
      'katafleet/x:latest b unable no ready node from which images can be copied has it: only a',
    );
    assert.deepEqual(
      planned([node('a', [made('x')], { exports: false }), node('b', [])])[1],
      'katafleet/x:latest b unable no ready node from which images can be copied has it: only a',
    );
  });

  it('does not take the ids of Docker 1.6 and of later engines for two builds', () => {
    const nodes = [
      node('a', [image('x:1', {}, 'sha256:aa')]),
      node('b', [image('x:1', {}, 'bb')]),
      node('c', [image('x:1', {}, 'sha256:cc')]),
    ];
    assert.deepEqual(planned(nodes, { images: ['x:1'] }), [
      'x:1 a keep it has another build than c: remove that build first',
      'x:1 b keep it has it',
      'x:1 c keep it has another build than a: remove that build first',
    ]);
  });

  it('refuses unknown names', () => {
    const nodes = [node('a', [made('x')])];
    const code = (expected: string) => (error: unknown) => error instanceof KatafleetError && error.code === expected;
    assert.throws(() => planned(nodes, { images: ['z'] }), code('image.unknown'));
    assert.throws(() => planned(nodes, { to: ['b'] }), code('node.unknown'));
  });
});

describe('delivering', () => {
  const bring = (name: string, to: string, from: string[], other: object = {}): PlannedStep => ({
    kind: 'bring',
    image: name,
    node: to,
    from,
    architecture: 'amd64',
    bytes: 1,
    handsOn: true,
    ...other,
  });
  const unreachable = new KatafleetError('engine.unreachable', 'cut');

  async function delivered(plan: PlannedStep[], options: Partial<DeliverOptions> & Pick<DeliverOptions, 'bring'>) {
    const events: string[] = [];
    const tell = (event: CopyEvent) => {
      const more = event.kind === 'begun' ? ` from ${event.from}` : event.kind === 'failed' ? ` ${event.error.code}` : '';
      if (event.kind !== 'passed') events.push(`${event.image}→${event.node} ${event.kind}${more}`);
    };
    const deliveries = await deliver(plan, { parallel: 4, attempts: 3, pause: async () => {}, onEvent: tell, ...options });
    return { deliveries, events };
  }

  it('starts a broken copy again, from another source if there is one, and fails after the last attempt', async () => {
    const tries: string[] = [];
    const pauses: number[] = [];
    const { deliveries, events } = await delivered([bring('x', 'c', ['a', 'b']), bring('y', 'c', ['a'])], {
      bring: async (name, _to, from) => {
        tries.push(`${name} ${from}`);
        if (name === 'y' || tries.length === 1) throw unreachable;
      },
      pause: async (attempt) => void pauses.push(attempt),
    });
    assert.deepEqual(tries, ['x a', 'x b', 'y a', 'y a', 'y a']);
    assert.deepEqual(pauses, [1, 1, 2]);
    assert.deepEqual(
      deliveries.map(({ kind }) => kind),
      ['done', 'failed'],
    );
    assert.deepEqual(events.slice(0, 4), ['x→c begun from a', 'x→c again', 'x→c begun from b', 'x→c done']);
    assert.deepEqual(events.at(-1), 'y→c failed engine.unreachable');
  });

  it('does not try again what can’t help: a full disk gets nothing more, and other nodes get theirs', async () => {
    const tried: string[] = [];
    const { deliveries } = await delivered([bring('x', 'full', ['a']), bring('y', 'full', ['a']), bring('x', 'c', ['a'])], {
      bring: async (name, to) => {
        tried.push(`${name} ${to}`);
        if (to === 'full') throw new KatafleetError('engine.disk_full', 'full');
      },
    });
    assert.deepEqual(tried.sort(), ['x c', 'x full']);
    assert.deepEqual(
      deliveries.map(({ image: name, node: at, kind }) => `${name} ${at} ${kind}`),
      ['x full failed', 'y full failed', 'x c done'],
    );
  });

  it('does not send a third time what an engine refused twice with the same words', async () => {
    const refusals = (words: (time: number) => string) => {
      let times = 0;
      const all = delivered([bring('x', 'c', ['a'])], {
        attempts: 4,
        bring: async () => {
          times += 1;
          throw new KatafleetError('engine.failed', words(times));
        },
      });
      return all.then(({ deliveries }) => [times, deliveries[0]?.kind]);
    };
    assert.deepEqual(await refusals((time) => `c can't load an image: open /tmp/docker-import-${1_000 * time}/json: no such file`), [
      2,
      'failed',
    ]);
    assert.deepEqual(await refusals((time) => `something else: ${'x'.repeat(time)}`), [4, 'failed']);
  });

  it('serves so many nodes at a time, one image after another on each, and spreads over the sources', async () => {
    const nodes = Array.from({ length: 6 }, (_, index) => `n${index}`);
    let running = 0;
    let most = 0;
    const here = new Set<string>();
    const sources: string[] = [];
    const plan = nodes.flatMap((name) => [bring('x', name, ['a', 'b']), bring('y', name, ['a', 'b'])]);
    const { deliveries } = await delivered(plan, {
      parallel: 3,
      bring: async (_name, to, from) => {
        assert.ok(!here.has(to), 'two at once on one node');
        here.add(to);
        sources.push(from);
        most = Math.max(most, ++running);
        await new Promise((resolve) => setImmediate(resolve));
        running -= 1;
        here.delete(to);
      },
    });
    assert.equal(most, 3);
    assert.equal(deliveries.filter(({ kind }) => kind === 'done').length, 12);
    assert.deepEqual(sources.slice(0, 3), ['a', 'b', 'a'], 'each the least busy one');
    assert.ok(
      sources.some((from) => nodes.includes(from)),
      'a node that has got an image hands it on',
    );
  });

  it('does not copy from a node that hands nothing out', async () => {
    const sources: string[] = [];
    const plan = [bring('x', 'legacy', ['a'], { handsOn: false }), bring('x', 'c', ['a'])];
    await delivered(plan, { parallel: 1, bring: async (_name, _to, from) => void sources.push(from) });
    assert.deepEqual(sources, ['a', 'a']);
  });

  it('reports an unexpected error as a failure and does not throw it', async () => {
    const { deliveries } = await delivered([bring('x', 'c', ['a'])], {
      bring: async () => {
        throw new TypeError('a bug');
      },
    });
    assert.ok(deliveries[0]?.kind === 'failed' && deliveries[0].error.code === 'internal');
  });

  it('tells the whole story in JSON, and the first failure’s exit code', () => {
    const plan = [bring('x', 'c', ['a']), { kind: 'keep', image: 'x', node: 'a', why: 'the node has it' }] as PlannedStep[];
    const down: PlannedStep = { kind: 'unable', image: 'x', node: 'd', why: 'down' };
    const full = { image: 'x', node: 'c', kind: 'failed', error: new KatafleetError('engine.permission', 'no', { hint: 'do' }) } as const;
    assert.equal(exitOf(plan, []), 0);
    assert.equal(exitOf([...plan, down], []), 69);
    assert.equal(exitOf([...plan, down], [full]), 77);
    const [first, second] = report(plan, [full]) as [Record<string, unknown>, object];
    assert.deepEqual([first['kind'], first['error']], ['failed', { code: 'engine.permission', message: 'no', hint: 'do' }]);
    assert.deepEqual(second, plan[1]);
  });
});

describe('a copy', () => {
  const has =
    (...tags: string[]) =>
    async () =>
      tags.map((tag) => image(tag));
  const from = (source: Readable) => ({ endpoint: 'from', exportImage: async () => source });
  const pieces = (...parts: (string | Error)[]) =>
    Readable.from(
      (async function* () {
        for (const part of parts) {
          if (part instanceof Error) throw part;
          yield Buffer.from(part);
        }
      })(),
    );

  it('passes every byte, counts them, and asks whether the image has arrived', async () => {
    let got = '';
    const counts: number[] = [];
    const importImage = async (archive: Readable) => void (got = (await buffer(archive)).toString());
    await copyImage(
      'x',
      from(pieces('ab', 'cde')),
      { endpoint: 'to', importImage, images: has('x:latest') },
      { onBytes: (bytes) => counts.push(bytes) },
    );
    assert.deepEqual([got, counts], ['abcde', [2, 5]]);
    await assert.rejects(
      copyImage('x', from(pieces('ab')), { endpoint: 'to', importImage, images: has('y:latest') }),
      /took the image x and does not show it/,
    );
  });

  it('blames the source if it breaks off, and frees the target', async () => {
    const importImage = async (archive: Readable) => {
      await buffer(archive);
    };
    const to = { endpoint: 'to', importImage, images: has('x:latest') };
    const broken = (error: unknown) =>
      error instanceof KatafleetError && error.code === 'engine.unreachable' && /^from broke off after 2 bytes.*: cut$/.test(error.message);
    await assert.rejects(copyImage('x', from(pieces('ab', new Error('cut'))), to), broken);
    const vanished = new PassThrough();
    vanished.write('ab', () => vanished.destroy());
    await assert.rejects(copyImage('x', from(vanished), to), /from broke off after 2 bytes.*Premature close/);
  });

  it('stops the source if the target refuses', async () => {
    const source = new PassThrough();
    source.write('ab');
    const refusal = new KatafleetError('engine.disk_full', 'full');
    const importImage = () => Promise.reject(refusal);
    await assert.rejects(copyImage('x', from(source), { endpoint: 'to', importImage, images: has() }), refusal);
    assert.ok(source.destroyed);
  });

  it('ends if no byte passes for too long, or if it is cancelled', async () => {
    const importImage = async (archive: Readable) => {
      await buffer(archive);
    };
    const to = { endpoint: 'to', importImage, images: has('x:latest') };
    const late = (error: unknown) => error instanceof KatafleetError && error.code === 'engine.timeout';
    await assert.rejects(copyImage('x', from(new PassThrough()), to, { stallMs: 20 }), late);
    const cancel = new AbortController();
    const early = copyImage('x', from(new PassThrough()), to, { signal: cancel.signal });
    cancel.abort(new Error('stopped'));
    await assert.rejects(early, /stopped/);
    const later = new AbortController();
    const slow = new PassThrough();
    slow.write('ab');
    const onBytes = () => later.abort(new Error('enough'));
    await assert.rejects(copyImage('x', from(slow), to, { signal: later.signal, onBytes }), /enough/);
  });
});

describe('showing copies', () => {
  const MiB = 1024 ** 2;
  const at = { image: 'x', node: 'c' };

  function shown(isTTY: boolean): { text: () => string; view: TransferView; pass: (ms: number) => void } {
    const stream = Object.assign(new PassThrough(), { isTTY, columns: 60 });
    let now = 0;
    const view = new TransferView(stream as unknown as NodeJS.WriteStream, new Map([['x', 100 * MiB]]), () => now);
    return { text: () => String(stream.read() ?? ''), view, pass: (ms) => (now += ms) };
  }

  it('says how much, of how much, and how fast', () => {
    assert.equal(progress({ bytes: 25 * MiB, expected: 100 * MiB, since: 0 }, 5_000), '25 MiB of 100 MiB, 25%, 5 MiB/s');
    assert.equal(progress({ bytes: 0, expected: 100 * MiB, since: 0 }, 5_000), '0 B of 100 MiB, 0%');
    assert.equal(progress({ bytes: 25 * MiB, expected: 0, since: 0 }, 5_000), '25 MiB, 5 MiB/s');
    assert.equal(progress({ bytes: 101 * MiB, expected: 100 * MiB, since: 0 }, 1_000), '101 MiB of 100 MiB, 99%, 101 MiB/s, unpacking');
  });

  it('a line at each turn and every ten seconds where lines stay', () => {
    const { text, view, pass } = shown(false);
    view.tell({ ...at, kind: 'begun', from: 'a', attempt: 1 });
    for (let second = 1; second <= 25; second++) {
      pass(1_000);
      view.tell({ ...at, kind: 'passed', bytes: second * MiB });
    }
    view.tell({ ...at, kind: 'again', error: new KatafleetError('engine.unreachable', 'cut\x1b[2J'), attempt: 2 });
    view.tell({ ...at, kind: 'begun', from: 'b', attempt: 2 });
    view.tell({ ...at, kind: 'done', from: 'b', bytes: 101 * MiB, ms: 30_000 });
    assert.deepEqual(text().split('\n'), [
      'x → c: from a',
      'x → c: 10 MiB of 100 MiB, 10%, 1 MiB/s',
      'x → c: 20 MiB of 100 MiB, 20%, 1 MiB/s',
      'x → c: cut\\x1b[2J; it begins again',
      'x → c: from b, try 2',
      'x → c: 101 MiB in 30.00 s',
      '',
    ]);
  });

  it('updates lines in place on a terminal, none wider than it', () => {
    const { text, view, pass } = shown(true);
    view.tell({ ...at, kind: 'begun', from: 'a', attempt: 1 });
    text();
    view.tell({ ...at, kind: 'passed', bytes: MiB });
    assert.equal(text(), '', 'not more often than it can be read');
    pass(1_000);
    view.tell({ ...at, kind: 'passed', bytes: 2 * MiB });
    assert.equal(text(), '\x1b[1A\r\x1b[J\x1b[2K  x → c: 2 MiB of 100 MiB, 2%, 2 MiB/s\n');
    view.tell({ ...at, kind: 'failed', error: new KatafleetError('engine.disk_full', 'full', { hint: 'make room' }) });
    assert.equal(text(), '\x1b[1A\r\x1b[J\x1b[2Kx → c: failed: full (make room)\n');
    assert.equal(lineOf({ ...at, kind: 'passed', bytes: 1 }), undefined);
  });
});
