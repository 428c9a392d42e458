import assert from 'node:assert/strict';
import { connect, type AddressInfo } from 'node:net';
import Fastify from 'fastify';
import fc from 'fast-check';
import { ByteBudget, type Room } from '../../src/base/byte-budget.ts';
import { KatafleetError } from '../../src/model/errors.ts';
import { budgetOf, shareMemory } from '../../src/base/server-memory.ts';
import { boundBodies } from '../../src/http/body-budget.ts';
import { RunService } from '../../src/runs/service.ts';
import { Store } from '../../src/store/store.ts';
import { Placing } from '../../src/model/placing.ts';
import { until } from '../support/until.ts';
import { fakeService, placed, runOf } from '../support/fake-service.ts';
import { result } from '../support/katas.ts';

const MiB = 1024 ** 2;
const GiB = 1024 * MiB;
const refuses = (code: string) => (error: unknown) => error instanceof KatafleetError && error.code === code;

describe('a budget of bytes', () => {
  it('takes no more bytes than there are, except for the first, and lets no request wait for good', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(fc.nat(50), { minLength: 1, maxLength: 5 }), { maxLength: 12 }),
        fc.nat(60),
        async (users, most) => {
          const budget = new ByteBudget(most);
          const largest = Math.max(0, ...users.map((takes) => takes.reduce((sum, bytes) => sum + bytes, 0)));
          await Promise.all(
            users.map(async (takes) => {
              const room = budget.open();
              for (const bytes of takes) {
                await room.take(bytes);
                assert.ok(budget.held <= most + largest, `${budget.held} of ${most}`);
                await new Promise(setImmediate);
              }
              room.close();
            }),
          );
          assert.equal(budget.held, 0);
        },
      ),
      { numRuns: 200 },
    );
  });

  it('lets one that gives up go, and the next one in', async () => {
    const budget = new ByteBudget(10);
    const [first, second, third]: Room[] = [budget.open(), budget.open(), budget.open()];
    await first?.take(10);
    const waits = second?.take(5);
    const last = third?.take(5);
    second?.close();
    await waits;
    assert.equal(budget.tryOpen(1), undefined);
    first?.close();
    await last;
    assert.equal(budget.held, 5);
  });
});

describe('the shares of a server’s memory', () => {
  it('fit into what there is, and stop growing', () => {
    const small = shareMemory(512 * MiB, 272 * MiB);
    assert.ok(
      small.bodyLimit >= 60 * MiB &&
        small.bodies <= 64 * MiB &&
        small.results <= 64 * MiB &&
        small.requests <= 96 * MiB &&
        small.output <= 32 * MiB,
    );
    assert.deepEqual(shareMemory(1024 * GiB, 4 * GiB), {
      ...{ all: 768 * GiB, bodyLimit: 64 * MiB, bodies: GiB },
      ...{ requests: GiB, results: GiB, output: GiB / 2 },
    });
    fc.assert(
      fc.property(fc.integer({ min: 128, max: 100_000 }), fc.integer({ min: 64, max: 4_096 }), (memory, heap) => {
        const share = shareMemory(memory * MiB, heap * MiB);
        assert.ok(share.bodyLimit <= share.bodies && share.bodyLimit >= MiB);
        for (const bytes of Object.values(share)) assert.ok(Number.isInteger(bytes));
        const { bodies, requests } = budgetOf(share);
        assert.ok(
          requests.tryOpen(share.bodyLimit) && bodies.tryOpen(share.bodyLimit),
          'the largest request is taken when nothing is held',
        );
      }),
    );
  });
});

describe('bodies that are read at once', () => {
  it('are turned away unread beyond their bytes, and let in when there is room again', async () => {
    const app = Fastify({ bodyLimit: 1_000 });
    boundBodies(app, { memory: { bodies: new ByteBudget(1_000), requests: new ByteBudget(Infinity) }, bodyLimit: 1_000 }, () => false);
    app.setErrorHandler((error, _request, reply) =>
      reply.code((error as KatafleetError).httpStatus).send({ code: (error as KatafleetError).code }),
    );
    app.post('/', () => ({ fine: true }));
    await app.listen({ port: 0, host: '127.0.0.1' });
    const { port } = app.server.address() as AddressInfo;
    const post = (body: string) =>
      fetch(`http://127.0.0.1:${port}/`, { method: 'POST', body, headers: { 'content-type': 'application/json' } });
    // One that announces much, and sends none of it.
    const slow = connect(port, '127.0.0.1');
    slow.write('POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 900\r\n\r\n{');
    await until(async () => (await post(`"${'x'.repeat(500)}"`)).status === 503);
    assert.equal((await post('"small"')).status, 200, 'what still fits is served');
    slow.destroy();
    await until(async () => (await post(`"${'x'.repeat(500)}"`)).status === 200);
    await app.close();
  });
});

describe('what runs hold', () => {
  it('is refused beyond its bytes, those that run counted', async () => {
    const { journal, service, driver, close } = await fakeService(['a']);
    const bounded = new RunService(journal, () => service.dispatcher, { requests: 150_000 });
    const big = { files: [{ path: 'f', mode: 0o644, mtimeNs: 0n, content: Buffer.alloc(100_000) }] };
    const { id } = await bounded.accept(runOf(['hold'], big), placed());
    await until(() => driver('a').holding === 1);
    await assert.rejects(
      bounded.accept(runOf(['echo'], big), placed()),
      (error) => refuses('queue.full')(error) && (error as KatafleetError).retryAfterMs !== undefined,
    );
    driver('a').letGo();
    await bounded.allEnded();
    assert.equal((await bounded.get(id)).endedAt === undefined, false);
    const next = await bounded.accept(runOf(['echo'], big), placed());
    await bounded.wait(next.id, 60_000);
    await close();
  });

  it('drops the oldest results beyond the journal’s size limit, never the newest one', async () => {
    await using store = await Store.open(':memory:', { keepBytes: 250_000 });
    const request = { image: 'i', files: [], steps: [{ argv: ['x'] }] };
    const large = result({ files: [{ change: 'created', path: 'f', mode: 0o644, mtimeNs: 0n, content: Buffer.alloc(100_000) }] });
    const ids = Array.from({ length: 5 }, (_, number) => `run${number}`);
    for (const [at, id] of ids.entries()) {
      await store.accept({ id, tenant: 't', request, placing: Placing.parse({}), at });
      await store.begin(id, 1, { node: 'n' }, at);
      assert.ok(await store.finish(id, 1, large, at));
      assert.equal((await store.get(id))?.result?.changes.files.length, 1);
    }
    const kept = async () => (await store.list({ limit: 9 })).runs.map(({ id }) => id);
    await until(async () => (await kept()).length === 2);
    assert.deepEqual(await kept(), ['run4', 'run3']);
    assert.ok((await store.resultBytes('run4')) > 100_000);
    assert.equal(await store.resultBytes('run0'), 0);
  });
});
