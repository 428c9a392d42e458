import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

setFlagsFromString('--expose-gc');
const gc = runInNewContext('gc') as () => void;

/** Collects garbage, in several turns, because weak references are cleared between turns. */
export async function collectGarbage(turns = 3): Promise<void> {
  for (let turn = 0; turn < turns; turn += 1) {
    gc();
    await new Promise((resolve) => setImmediate(resolve));
  }
}
