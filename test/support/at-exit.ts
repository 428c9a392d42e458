const left = new Set<() => void>();
const signals = ['SIGTERM', 'SIGHUP'] as const;

/** With the exit code that a shell gives to such an end. */
const leave = (signal: NodeJS.Signals) => process.exit(signal === 'SIGTERM' ? 143 : 129);

function end(): void {
  for (const body of [...left].reverse()) body();
  left.clear();
}

/** Calls a function when the process ends, also by a signal; the latest first. The function it returns cancels the call. */
export function atExit(body: () => void): () => void {
  if (left.size === 0) {
    process.once('exit', end);
    for (const signal of signals) process.once(signal, leave);
  }
  left.add(body);
  return () => {
    if (!left.delete(body) || left.size > 0) return;
    process.removeListener('exit', end);
    for (const signal of signals) process.removeListener(signal, leave);
  };
}
