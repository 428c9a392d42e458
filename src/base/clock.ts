/** The time. A simulation passes a clock of its own. */
export interface Clock {
  /** Milliseconds on a clock that nobody sets forward or back. */
  now(): number;
  /** Calls back once, after `ms`. The process does not stay alive for it. */
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
