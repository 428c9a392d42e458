// Times of single-use replacement through katafleet, for test/bench/swarm.ts: by itself a process, so that it can run in an overlay's
// network.
//   swarm-replacement.ts ENDPOINT WAY ADDRESS IMAGE ROUNDS   prints the times in ms, a JSON array
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { profileOf, sandboxLimits } from '../../src/model/profile.ts';
import { EngineDriver } from '../../src/drivers/engine/driver.ts';
import { SwarmDriver } from '../../src/drivers/swarm/driver.ts';
import { SwarmKeys } from '../../src/drivers/swarm/services/keys.ts';
import { Listener } from '../../src/drivers/swarm/dial/listener.ts';
import { labels } from '../../src/model/labels.ts';
import { Conversation } from '../../src/protocol/conversation.ts';
import { encodeFrame, hostFrame } from '../../src/protocol/frames.ts';

const [endpoint = '', way = 'host', address = '', name = '', rounds = '20'] = process.argv.slice(2);
const listener = new Listener({ host: '0.0.0.0', port: 0 });
const driver = new SwarmDriver({
  managers: [new EngineDriver({ endpoint })],
  listener,
  keys: SwarmKeys.ephemeral(),
  stack: 'bench',
  instance: randomUUID().slice(0, 13),
  ephemeral: { [labels.deadline]: String(Date.now() + 3_600_000) },
  advertise: `${address}:${await listener.ready()}`,
  dial: way === 'overlay' ? 'overlay' : 'host',
  workers: [],
  lingerMs: 60_000,
  patienceMs: 60_000,
  onTrouble: (message) => process.stderr.write(`${message}\n`),
});
/** As long as the tasks live that it is measured against. */
const lifeMs = 500;
const image = await driver.prepare(name);
const limits = sandboxLimits(profileOf({ memory: 64 * 1024 ** 2 }));
const create = () => driver.create({ name: randomUUID(), image, limits, labels: {}, idleMs: 600_000 });
const times: number[] = [];
let sandbox = await create();
for (let round = 0; round < Number(rounds); round += 1) {
  const conversation = new Conversation(sandbox.stream);
  await conversation.hello();
  await sleep(lifeMs);
  await conversation.send(encodeFrame(hostFrame.close));
  while (sandbox.stream.read() !== null);
  await Promise.race([sandbox.closed, once(sandbox.stream, 'close')]);
  const begun = performance.now();
  await sandbox.remove();
  sandbox = await create();
  times.push(performance.now() - begun);
}
await sandbox.remove();
await driver.close();
await listener.close();
process.stdout.write(JSON.stringify(times));
