import assert from 'node:assert/strict';
import type http from 'node:http';
import { EngineDriver } from '../../../src/drivers/engine/driver.ts';
import { KatafleetError } from '../../../src/model/errors.ts';
import { stubEngine } from '../../support/stub-engine.ts';

/** Pings an engine that answers so, this many times, and returns its error. */
async function pinged(answer: (response: http.ServerResponse, request: http.IncomingMessage) => void, times = 1, signal?: AbortSignal) {
  await using engine = await stubEngine({ '/_ping': (request, response) => answer(response, request) });
  const driver = new EngineDriver({ endpoint: engine.endpoint });
  try {
    for (let ping = 0; ping < times; ping += 1) await driver.ping(signal ?? AbortSignal.timeout(5_000));
    return undefined;
  } catch (error) {
    assert.ok(error instanceof Error);
    return error;
  } finally {
    driver.close();
  }
}

describe('a ping of an engine', () => {
  it('uses one connection again and again', async () => {
    const sockets = new Set<unknown>();
    const error = await pinged((response, { socket }) => {
      sockets.add(socket);
      response.end('OK');
    }, 5);
    assert.deepEqual([error, sockets.size], [undefined, 1]);
  });

  it('fails with the engine’s words if it refuses', async () => {
    const error = await pinged((response) => response.writeHead(500).end('the storage is gone'));
    assert.ok(error instanceof KatafleetError && error.code === 'engine.failed' && /the storage is gone/.test(error.message));
  });

  it('does not read an answer without end', async () => {
    const error = await pinged((response) => response.write(Buffer.alloc(100_000, 'x')));
    assert.match(error?.message ?? '', /more than 4 KiB/);
  });

  it('ends when it is given up, and leaves no listener', async () => {
    const stop = new AbortController();
    const error = await pinged(() => stop.abort(new Error('enough')), 1, stop.signal);
    assert.match(error?.message ?? '', /enough/);
  });

  it('is sent again if the engine closed the idle connection just then', async () => {
    let asked = 0;
    const error = await pinged((response, { socket }) => {
      asked += 1;
      if (asked === 2) socket.destroy();
      else response.end('OK');
    }, 2);
    assert.deepEqual([error, asked], [undefined, 3]);
  });

  it('is not sent again if a new connection is closed', async () => {
    let asked = 0;
    const error = await pinged((_response, { socket }) => {
      asked += 1;
      socket.destroy();
    });
    assert.ok(error instanceof KatafleetError && error.code === 'engine.unreachable');
    assert.equal(asked, 1);
  });
});
