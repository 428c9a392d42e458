import assert from 'node:assert/strict';
import { isImageName } from '../../src/model/image-name.ts';
import { EngineDriver } from '../../src/drivers/engine/driver.ts';
import { checkJob } from '../../src/runs/job.ts';
import { stubEngine } from '../support/stub-engine.ts';

const digest = `sha256:${'0a'.repeat(32)}`;
const names = [
  ...['gcc-assert', 'katafleet/gcc:1.0', 'docker.io/library/debian:bookworm', 'localhost:5000/x/y_z:V.1-2', '[::1]:5000/x', 'a__b--c.d'],
  ...[digest, '0a'.repeat(32), `r.example:5000/x@${digest}`, `x:latest@${digest}`, 'Host.example/x'],
];
const others = [
  ...['', ' x', 'x y', 'x\n', 'x?a=b', 'x#y', '../containers', 'x/../y', '/x', 'x/', 'x//y', '%2e', 'X', 'x:', 'x:-a', 'x@y', 'x\0', 'ü'],
  ...['x'.repeat(513), `x:${'t'.repeat(129)}`, 'a'.repeat(500) + '!'],
];

describe('names of images', () => {
  it('are those that docker could have', () => {
    for (const name of names) assert.ok(isImageName(name), name);
    for (const name of others) assert.ok(!isImageName(name), name);
  });

  it('a run with another is refused, and says what is expected', () => {
    const steps = [{ argv: ['true'] }];
    for (const image of names) checkJob({ image, files: [], steps });
    for (const image of others)
      assert.throws(
        () => checkJob({ image, files: [], steps }),
        { code: 'request.invalid', message: /^image: expected a docker image name/ },
        image,
      );
  });

  it('an engine is never asked for another', async () => {
    const asked: string[] = [];
    await using engine = await stubEngine({}, ({ url = '' }, response) => {
      asked.push(url);
      response.writeHead(404, { 'content-type': 'application/json' }).end('{"message": "no"}');
    });
    const driver = new EngineDriver({ endpoint: engine.endpoint });
    try {
      for (const name of others) await assert.rejects(driver.prepare(name), { code: 'image.unknown' }, name);
      assert.deepEqual(asked, []);
    } finally {
      driver.close();
    }
  });
});
