// A katafleet for a test to kill: tests a kata once and prints its progress. Arguments: folder, kata, hang|answer.
import { created, file, result } from './katas.ts';
import { Katas } from '../../src/katas/store.ts';

const [folder = '', kata = '', how] = process.argv.slice(2);
const say = (line: string) => process.stdout.write(`${line}\n`);
const katas = new Katas({
  folder,
  run: () => {
    say('running');
    return how === 'hang'
      ? new Promise(() => setInterval(() => undefined, 1_000))
      : Promise.resolve(result({ files: [created('report.txt')] }));
  },
});
const tested = await katas.test(kata, 'lion', { files: [file('cyber-dojo.sh'), file('mine.c')] });
say('answered');
await tested.committed;
say('committed');
