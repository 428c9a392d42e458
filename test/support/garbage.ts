import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

setFlagsFromString('--expose-gc');
const gc = runInNewContext('gc') as () => void;

/** Collects what nobody refers to; in several turns, for weak references are cleared between them. */
export async function collectGarbage(turns = 3): Promise<void> {
  for (let turn = 0; turn < turns; turn += 1) {
    gc();
    await new Promise((resolve) => setImmediate(resolve));
  }
}
