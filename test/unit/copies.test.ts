import assert from 'node:assert/strict';
import { buffer } from 'node:stream/consumers';
import { KatafleetError } from '../../src/model/errors.ts';
import { EngineDriver } from '../../src/drivers/engine/driver.ts';
import { type Answer, stubEngine } from '../support/stub-engine.ts';

const [MiB] = [1024 ** 2];

describe('an image on its way from engine to engine', () => {
  async function copy(give: Answer, take: Answer): Promise<void> {
    await using source = await stubEngine({ '/images/x/get': give });
    await using target = await stubEngine({ '/images/load': take });
    const [from, to] = [new EngineDriver(source), new EngineDriver(target)];
    try {
      await to.importImage(await from.exportImage('x'));
    } finally {
      from.close();
      to.close();
    }
  }

  it('arrives whole', async () => {
    let got = 0;
    await copy(
      (_request, response) => void response.end(Buffer.alloc(5 * MiB, 7)),
      (request, response) => void buffer(request).then((bytes) => ((got = bytes.length), response.end('{"stream":"Loaded image: x"}'))),
    );
    assert.equal(got, 5 * MiB);
  });

  it('names the archive in the error if the source breaks off', async () => {
    const broken = copy(
      (_request, response) => {
        response.write(Buffer.alloc(MiB), () => response.destroy());
      },
      (request, response) =>
        void buffer(request)
          .then(() => response.end('{}'))
          .catch(() => undefined),
    );
    await assert.rejects(
      broken,
      (error) => error instanceof KatafleetError && error.code === 'engine.failed' && /broke off/.test(error.message),
    );
  });

  it('fails with the target’s message if the target refuses it', async () => {
    const told = (body: string): Answer => {
      return (request, response) => void buffer(request).then(() => response.end(body));
    };
    const refused = copy((_request, response) => void response.end('archive'), told('{"error":"invalid tar header"}'));
    await assert.rejects(refused, /can't load an image at .*: invalid tar header/);
  });
});
