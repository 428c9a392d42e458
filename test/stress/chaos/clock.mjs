// Shifts the wall clock of the process, and of its worker threads, by the number of milliseconds in a file. Loaded before katafleet by
// NODE_OPTIONS=--import. Linux has no namespace for the wall clock, and the step must not hit the engines or the tests. The steady clock
// (performance.now, hrtime) and timers stay as they are, as they do when an administrator sets the clock.
import { readFileSync } from 'node:fs';
import { performance } from 'node:perf_hooks';
import process from 'node:process';

const file = process.env.KATAFLEET_STORM_CLOCK ?? '';
/** How often the file is read, ms. */
const everyMs = 20;
const Real = globalThis.Date;
const now = Real.now.bind(Real);
let shift = 0;
let readAt = -Infinity;

function shifted() {
  const at = performance.now();
  if (at - readAt >= everyMs) {
    readAt = at;
    try {
      shift = Number(readFileSync(file, 'utf8')) || 0;
    } catch {
      shift = 0; // nobody has set it yet
    }
  }
  return now() + shift;
}

globalThis.Date = new Proxy(Real, {
  construct: (target, words, asked) => Reflect.construct(target, words.length === 0 ? [shifted()] : words, asked),
  apply: () => new Real(shifted()).toString(),
  get: (target, name, receiver) => (name === 'now' ? shifted : Reflect.get(target, name, receiver)),
});
