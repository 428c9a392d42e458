import type { RootHookObject } from 'mocha';

/** A wait fails this long before the test's own time limit, ms, so that the error names the condition. */
const beforeLimitMs = 500;
/** How long a wait outside of a test may take, such as in a hook, ms. */
const outsideMs = 300_000;

/** When the running test must end, on the clock of performance.now(). */
let limit: number | undefined;

/** Mocha's hooks for every test, see .mocharc.json: a wait ends before the time limit of the test that it began in. */
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
 * Resolves when the condition holds. Checks it after each turn of the event loop, or every 25 ms if it returns a promise.
 * @throws an error with the condition's source, shortly before the test's time limit
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
