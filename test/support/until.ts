import type { RootHookObject } from 'mocha';

/** How long before a test's own time limit a wait in it fails, ms: so that what is told is what was waited for. */
const beforeLimitMs = 500;
/** How long a wait outside of a test may take, in a hook for instance, ms. */
const outsideMs = 300_000;

/** When the test that runs has to be over, by performance.now(). */
let limit: number | undefined;

/** Mocha's hooks for every test, see .mocharc.json: a wait ends when the test that it began in has to be over. */
export const mochaHooks: RootHookObject = {
  beforeEach(this: Mocha.Context) {
    const ms = this.currentTest?.timeout() ?? 0;
    limit = ms > 0 ? performance.now() + ms - beforeLimitMs : undefined;
  },
  afterEach() {
    limit = undefined;
  },
};

/**
 * Resolves when the condition holds. It is looked at after each turn of the event loop, or every 25 ms where it answers with a promise.
 * @throws an error with the condition's source, shortly before the test would be over its time limit
 */
export async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = limit ?? performance.now() + outsideMs;
  const late = new Error(`the test waited in vain until ${inOneLine(holds)}`);
  for (;;) {
    const answer = holds();
    if (await answer) return;
    if (performance.now() > deadline) throw late;
    await new Promise((resolve) => (answer instanceof Promise ? setTimeout(resolve, 25) : setImmediate(resolve)));
  }
}

const inOneLine = (holds: () => unknown): string =>
  String(holds)
    .replace(/^(async ?)?\(\)\s*=>\s*/, '')
    .replace(/\s+/g, ' ');
