import assert from 'node:assert/strict';
import { connect, type Socket } from 'node:net';
import { budgetOf, shareMemory } from '../../src/base/server-memory.ts';
import { OutputBudget } from '../../src/runs/room/output-budget.ts';
import { RunService } from '../../src/runs/service.ts';
import { api } from '../support/api.ts';
import { MiB } from '../support/fake-fleet.ts';
import { fakeService, placed, runOf } from '../support/fake-service.ts';
import { until } from '../support/until.ts';

const small = shareMemory(512 * MiB, 272 * MiB);
const file = (bytes: number) => ({ files: [{ path: 'f', mode: 0o644, mtimeNs: 0n, content: Buffer.alloc(bytes) }] });

describe('the byte budget of a server', () => {
  it('refuses runs beyond queue.bytes, those that run counted as those that wait', async () => {
    const memory = budgetOf(small, { requests: 16 * MiB });
    const { journal, service, close, driver } = await fakeService(['a', 'b', 'c', 'd']);
    const bounded = new RunService(journal, () => service.dispatcher, { requests: memory.requests });
    let refused = 0;
    for (let number = 0; number < 20; number += 1)
      await bounded.accept(runOf(['hold'], file(3 * MiB)), placed()).catch(() => (refused += 1));
    assert.equal(refused, 15);
    await until(() => ['a', 'b', 'c', 'd'].reduce((sum, name) => sum + driver(name).holding, 0) === 5);
    assert.ok(memory.requests.held > 15 * MiB && memory.requests.held < 16 * MiB);
    for (const name of ['a', 'b', 'c', 'd']) driver(name).letGo();
    await bounded.allEnded();
    assert.equal(memory.pool.held, 0);
    await close();
  });

  it('refuses uploads unread, however many hold back their last byte, and gives all back when they are gone', async () => {
    const memory = budgetOf(small);
    const { listen, close, app } = await api(['a'], { memory, bodyLimit: small.bodyLimit });
    const port = Number(new URL(await listen()).port);
    const length = 60 * MiB;
    const answers: string[] = [];
    const sockets: Socket[] = Array.from({ length: 30 }, () => {
      const socket = connect(port, '127.0.0.1').on('error', () => undefined);
      socket.on('data', (bytes) => answers.push(bytes.toString()));
      socket.write(`POST /v1/runs HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: ${length}\r\n\r\n{`);
      return socket;
    });
    await until(() => answers.length === 29);
    for (const answer of answers) assert.match(answer, /^HTTP\/1.1 (503|429) [^]*\r\nretry-after: 1\r\n/);
    assert.equal(memory.bodies.held, length, 'one is read');
    for (const socket of sockets) socket.destroy();
    await until(() => memory.pool.held === 0);
    app.server.closeAllConnections();
    await close();
  });

  it('counts a body’s bytes once: as the request’s until the run has ended', async () => {
    const memory = budgetOf(small);
    const { ask, close, driver, service } = await api(['a'], { memory, bodyLimit: MiB });
    const content = Buffer.alloc(300_000).toString('base64');
    const body = { image: 'any', command: ['hold'], files: [{ path: 'f', content, encoding: 'base64' }] };
    const { status, body: run } = await ask('POST', '/v1/runs', { payload: body });
    assert.equal(status, 202);
    assert.deepEqual([memory.bodies.held, memory.requests.held], [0, 300_000 + 'f'.length + 'hold'.length]);
    await until(() => driver('a').holding === 1);
    assert.equal(memory.requests.held, 300_005, 'it is held while the run runs');
    driver('a').letGo();
    await service.ended(run.id, 60_000);
    await until(() => memory.pool.held === 0);
    assert.equal((await ask('GET', `/v1/runs/${run.id}`)).status, 200);
    await until(() => memory.pool.held === 0);
    for (const payload of [{ image: 'nothing:here', command: ['x'] }, { image: 'any' }, { ...body, priority: 77 }]) {
      assert.ok((await ask('POST', '/v1/runs', { payload })).status >= 400);
      assert.equal(memory.pool.held, 0, 'a refused request keeps nothing');
    }
    await close();
  });

  it('keeps room for results, answers and output when requests take all they can, and for requests when answers do', () => {
    const memory = budgetOf(small);
    while (memory.requests.tryOpen(MiB));
    while (memory.bodies.tryOpen(MiB));
    for (const { left, most } of [memory.results, memory.answers, memory.output]) assert.ok(left >= Math.floor(most / 4), String(left));
    const output = new OutputBudget(memory.output, memory.freeOutput).open();
    assert.ok(output.keep(8 * MiB, 'beginning') > 2 * MiB);
    const told = budgetOf(small);
    while (told.answers.tryOpen(MiB));
    while (told.results.tryOpen(MiB));
    assert.ok(told.requests.tryOpen(20 * MiB));
  });
});
