const left = new Set<() => void>();
const signals = ['SIGTERM', 'SIGHUP'] as const;

/** With the exit code that a shell gives to such an end. */
const leave = (signal: NodeJS.Signals) => process.exit(signal === 'SIGTERM' ? 143 : 129);

function end(): void {
  for (const body of [...left].reverse()) body();
  left.clear();
}

/** Does it when the process ends, by a signal too and the latest first, unless the function that this answers is called before. */
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
