import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { openWorker } from '../../../src/store/caller/link.ts';
import { CommandQueue } from '../../../src/store/caller/queue.ts';
import { Store } from '../../../src/store/store.ts';
import { until } from '../../support/until.ts';
import { journalFolder, request, withFile } from '../../support/stored.ts';

const child = fileURLToPath(new URL('../../support/store-child.ts', import.meta.url));

/** What a child told: the runs that were accepted and those that were finished. */
interface Told {
  accepted: Set<string>;
  finished: Set<string>;
}

async function killedAfter(lines: number, file: string, durability: string): Promise<Told> {
  const process_: ChildProcess = spawn(process.execPath, ['--import', 'tsx', child, file, durability], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const told: Told = { accepted: new Set(), finished: new Set() };
  let rest = '';
  let count = 0;
  process_.stdout?.on('data', (chunk: Buffer) => {
    const [last = '', ...whole] = (rest + chunk.toString()).split('\n').reverse();
    rest = last;
    for (const line of whole.reverse()) {
      const [what, id = ''] = line.split(' ');
      told[what as keyof Told].add(id);
      count += 1;
    }
    if (count >= lines) process_.kill('SIGKILL');
  });
  await once(process_, 'close');
  return told;
}

describe('the store: a process that is killed under load', () => {
  for (const [round, [lines, durability]] of (
    [
      [40, 'process'],
      [700, 'process'],
      [300, 'power'],
    ] as const
  ).entries()) {
    it(`has every run that it told, with its result (${durability}, after ${lines} answers)`, async () => {
      const { file, remove } = journalFolder();
      try {
        const told = await killedAfter(lines, file, durability);
        assert.ok(told.accepted.size > 0, `round ${round} told nothing`);
        await using store = await Store.open(file, { thread: false });
        for (const id of told.accepted) {
          const record = await store.get(id);
          assert.ok(record, `${id} was told and is gone`);
          const number = Number(id.slice(1));
          const content = Buffer.alloc(number % 10 === 0 ? 100_000 : 200, number);
          if (told.finished.has(id)) assert.deepEqual(record.result, withFile(id, content));
          if (record.state === 'waiting') assert.deepEqual(await store.request(id), request('x', content));
        }
        const { finished, waiting } = await store.counts();
        assert.ok(finished >= told.finished.size && finished + waiting >= told.accepted.size);
      } finally {
        remove();
      }
    });
  }

  it('has them too when only its thread is ended, again and again', async () => {
    const { file, remove } = journalFolder();
    let ended = 0;
    let end: () => void = () => undefined;
    const { queue } = await CommandQueue.open({
      ...{ file, keepBytes: Infinity, power: false, onTrouble: () => undefined, onTakes: () => undefined },
      open: async (options, hears) => {
        const gone = (why: string) => {
          ended += 1;
          hears.gone(why);
        };
        const link = await openWorker(options, { ...hears, gone });
        end = () => link.kill();
        return link;
      },
    });
    try {
      const bytes = new Uint8Array(10);
      const accept = (id: string) =>
        queue.write({ do: 'accept', id, tenant: 't', hash: bytes, image: 'i', placing: '{}', at: 1, request: { bytes, near: 10 } }, 'owed');
      for (let round = 0; round < 3; round += 1) {
        const answers = Array.from({ length: 200 }, (_, index) => accept(`r${round}.${index}`));
        await answers[round * 50];
        end();
        await until(() => ended === round + 1);
        assert.deepEqual(
          (await Promise.all(answers)).map((answer) => 'id' in answer && answer.known),
          answers.map(() => false),
        );
      }
      assert.equal(ended, 3);
      assert.equal((await queue.read({ do: 'counts' })).waiting, 600);
    } finally {
      await queue.close();
      remove();
    }
  });
});
