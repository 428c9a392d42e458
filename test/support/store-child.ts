// A process that accepts, begins and finishes runs until it is killed, and tells each that was stored: store-child.ts FILE DURABILITY
import { writeSync } from 'node:fs';
import { Store } from '../../src/store/store.ts';
import { accepting, request, withFile } from './stored.ts';

const [file = '', durability] = process.argv.slice(2);
const store = await Store.open(file, { durability: durability === 'power' ? 'power' : 'process' });
let next = 0;
await Promise.all(
  Array.from({ length: 20 }, async () => {
    for (;;) {
      const number = next++;
      const id = `r${number}`;
      const content = Buffer.alloc(number % 10 === 0 ? 100_000 : 200, number);
      await accepting(() => store)(id, { key: id, request: request('x', content) });
      writeSync(1, `accepted ${id}\n`);
      if (number % 3 === 0) continue;
      void store.begin(id, 1, { node: 'a' }, 1);
      await store.finish(id, 1, withFile(id, content), 2);
      writeSync(1, `finished ${id}\n`);
    }
  }),
);
