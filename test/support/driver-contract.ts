import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { KatafleetError } from '../../src/model/errors.ts';
import { labels } from '../../src/model/labels.ts';
import { profileOf, sandboxLimits } from '../../src/model/profile.ts';
import type { Driver } from '../../src/drivers/contract.ts';
import { Conversation } from '../../src/protocol/conversation.ts';
import { encodeFrame, hostFrame } from '../../src/protocol/frames.ts';

/** The tests that every driver must pass, the fake one too. The image must be on the node. */
export function driverContract(name: string, open: () => Driver, image: string): void {
  describe(`driver contract: ${name}`, () => {
    let driver: Driver;
    before(() => {
      driver = open();
    });
    after(() => driver.close());

    const create = async (own: Record<string, string> = {}, signal?: AbortSignal) => {
      const limits = sandboxLimits(profileOf({ memory: 64 * 1024 * 1024 }));
      return driver.create(
        { name: randomUUID(), image: await driver.prepare(image), limits, labels: { [labels.role]: 'sandbox', ...own }, idleMs: 60_000 },
        signal,
      );
    };
    const ids = async () => (await driver.list()).map(({ id }) => id);

    it('probes: a name, an API version, memory, and whether its limit is enforced', async () => {
      const found = await driver.probe();
      assert.ok(found.node.length > 0 && found.memory > 0 && found.cpus > 0);
      assert.match(found.apiVersion, /^\d+\.\d+$/);
      assert.equal(typeof found.enforces.memory, 'boolean');
      driver.forget();
      assert.deepEqual({ ...(await driver.probe()), clockSkewMs: 0 }, { ...found, clockSkewMs: 0 });
      await driver.ping(AbortSignal.timeout(10_000));
    });

    it('says what the node is now as the probe did, and by an id', async () => {
      const now = await driver.identify?.(AbortSignal.timeout(10_000));
      assert.deepEqual({ ...now, clockSkewMs: 0 }, { ...(await driver.probe()), clockSkewMs: 0 });
      assert.equal(typeof now?.engineId, 'string');
    });

    it('lists a sandbox with its memory limit and when it was made', async () => {
      const sandbox = await create({ [labels.memory]: '67108864' });
      const listed = (await driver.list()).find(({ id }) => id === sandbox.id);
      assert.ok((listed?.alive ?? listed?.running) === true);
      if (driver.machines === undefined) {
        assert.equal(listed?.memory, 67_108_864);
        const exact = await driver.createdAt?.(sandbox.id);
        assert.ok(listed?.created !== undefined && Math.abs((exact ?? listed.created) - listed.created) < 1_000);
      }
      await sandbox.remove();
    });

    it('prepares an image as an id, the same each time, and knows what it does not have', async () => {
      const prepared = await driver.prepare(image);
      assert.match(prepared.id, /^sha256:/);
      assert.deepEqual(await driver.prepare(image), prepared);
      await assert.rejects(driver.prepare('unknown'), (error) => error instanceof KatafleetError && error.code === 'image.unknown');
    });

    it('creates sandboxes whose supervisor greets, with the labels that were given', async () => {
      const sandbox = await create({ 'katafleet.test': 'yes' });
      const hello = await new Conversation(sandbox.stream).hello();
      assert.ok(hello.lowest <= hello.highest);
      const listed = (await driver.list()).find(({ id }) => id === sandbox.id);
      assert.equal(listed?.labels['katafleet.test'], 'yes');
      await sandbox.remove();
      assert.ok(!(await ids()).includes(sandbox.id));
      await sandbox.closed;
    });

    it('removing twice, by the sandbox or by its id, is no error', async () => {
      const sandbox = await create();
      await Promise.all([sandbox.remove(), sandbox.remove()]);
      await sandbox.remove();
      await driver.remove(sandbox.id);
    });

    it('tells when a sandbox’s carrier has gone, whoever took it', async () => {
      const sandbox = await create();
      await new Conversation(sandbox.stream).hello();
      await driver.remove(sandbox.id);
      await sandbox.closed;
      await sandbox.remove();
    });

    it('an aborted create leaves nothing behind', async () => {
      const before = await ids();
      await assert.rejects(create({}, AbortSignal.abort(new Error('changed my mind'))), /changed my mind/);
      assert.deepEqual(await ids(), before);
    });

    it('a supervisor that breaks off closes the stream', async () => {
      const sandbox = await create();
      const conversation = new Conversation(sandbox.stream);
      await conversation.hello();
      await conversation.send(encodeFrame(hostFrame.close));
      await assert.rejects(async () => {
        for (;;) await conversation.next();
      });
      await sandbox.remove();
    });
  });
}
