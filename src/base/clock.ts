/** Time for those who wait for it; a simulation passes its own. */
export interface Clock {
  /** ms on a clock that is never set. */
  now(): number;
  /** Calls back once, after so many ms; the process does not stay alive for it. */
  after(ms: number, call: () => void): Timer;
}

export interface Timer {
  cancel(): void;
}

export const steadyClock: Clock = {
  now: () => performance.now(),
  after: (ms, call) => {
    const timer = setTimeout(call, ms).unref();
    return { cancel: () => clearTimeout(timer) };
  },
};
