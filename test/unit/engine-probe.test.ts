import assert from 'node:assert/strict';
import type http from 'node:http';
import { KatafleetError } from '../../src/model/errors.ts';
import { EngineDriver } from '../../src/drivers/engine/driver.ts';
import { NodeSandboxes } from '../../src/fleet/node/sandboxes.ts';
import { type Answer, stubEngine } from '../support/stub-engine.ts';

const info = { Architecture: 'x86_64', MemoryLimit: true, NCPU: 2, MemTotal: 8e9 };
const json =
  (body: object, status = 200): Answer =>
  (_request, response) =>
    void response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));

/** Answers that are held back until both paths have been asked: whoever asks one after the other waits for ever. */
function together(one: [string, object], other: [string, object]): Record<string, Answer> {
  const held: (() => void)[] = [];
  const hold =
    (body: object): Answer =>
    (request, response) => {
      held.push(() => json(body)(request, response));
      if (held.length === 2) for (const answer of held.splice(0)) answer();
    };
  return { [one[0]]: hold(one[1]), [other[0]]: hold(other[1]) };
}

/** The version of the API that each call of a path was made in; empty for none. */
function versionsOf(asked: string[], answer: (version: string) => Answer): Answer {
  return (request: http.IncomingMessage, response) => {
    const version = /^\/v([\d.]+)\//.exec(request.url ?? '')?.[1] ?? '';
    asked.push(version);
    answer(version)(request, response);
  };
}

describe('an engine that is asked what it is', () => {
  it('is asked for its version and for all else at once', async () => {
    const both = together(['/version', { Version: '20.10', ApiVersion: '1.41' }], ['/info', { ...info, Name: 'both' }]);
    await using engine = await stubEngine(both);
    const driver = new EngineDriver({ endpoint: engine.endpoint });
    assert.equal((await driver.probe()).node, 'both');
    driver.close();
  });

  it('is asked again in the version that we speak, where its own is newer', async () => {
    const asked: string[] = [];
    await using engine = await stubEngine({
      '/version': json({ Version: '99', ApiVersion: '1.99', MinAPIVersion: '1.44' }),
      '/info': versionsOf(asked, (version) => json({ ...info, Name: `in ${version}` })),
    });
    const driver = new EngineDriver({ endpoint: engine.endpoint });
    const { node, apiVersion } = await driver.probe();
    assert.deepEqual([node, apiVersion, asked], ['in 1.51', '1.51', ['', '1.51']]);
    driver.close();
  });

  it('is asked again where it does not answer without a version', async () => {
    const asked: string[] = [];
    await using engine = await stubEngine({
      '/info': versionsOf(asked, (version) =>
        version === '' ? json({ message: 'say a version' }, 403) : json({ ...info, Name: 'strict' }),
      ),
    });
    const driver = new EngineDriver({ endpoint: engine.endpoint });
    assert.equal((await driver.probe()).node, 'strict');
    assert.deepEqual(asked, ['', '1.41']);
    driver.close();
  });

  it('says that it is too old, whatever else it says', async () => {
    await using engine = await stubEngine({ '/version': json({ Version: '1.6.2', ApiVersion: '1.18' }), '/info': json({}, 500) });
    const driver = new EngineDriver({ endpoint: engine.endpoint });
    await assert.rejects(driver.probe(), (error) => error instanceof KatafleetError && error.code === 'engine.too_old');
    driver.close();
  });
});

describe('a node before its first use', () => {
  const books = { reserve: () => true, release: () => undefined };

  it('is asked for what is left over and for its images at once, and for nothing more when it is closed unused', async () => {
    let asked = 0;
    const both = together(['/containers/json', []], ['/images/json', []]);
    const listing = both['/containers/json'];
    await using engine = await stubEngine({
      ...both,
      '/containers/json': (request, response) => {
        asked += 1;
        listing?.(request, response);
      },
    });
    const node = new NodeSandboxes(new EngineDriver({ endpoint: engine.endpoint }), { books, idleMemory: 0 });
    await node.reconcile();
    await node.close();
    assert.equal(asked, 1);
  });
});
