/** Median and 95th percentile of measurements, ms unless said otherwise. */
export interface Summary {
  n: number;
  median: number;
  p95: number;
}

export function summarise(values: readonly number[]): Summary {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;
  return { n: sorted.length, median: at(0.5), p95: at(0.95) };
}

export async function time(body: () => Promise<unknown>): Promise<number> {
  const begun = performance.now();
  await body();
  return performance.now() - begun;
}

/** Runs `total` bodies, `parallel` at a time; tells how many a second. */
export async function rate(total: number, parallel: number, body: () => Promise<unknown>): Promise<number> {
  let left = total;
  const worker = async () => {
    while (left > 0) {
      left -= 1;
      await body();
    }
  };
  const ms = await time(() => Promise.all(Array.from({ length: parallel }, worker)));
  return (total / ms) * 1000;
}
