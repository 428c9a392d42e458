/** Median and 95th percentile of measurements, ms unless said otherwise. */
export interface Summary {
  n: number;
  median: number;
  p95: number;
}
/** The same with what is rare. */
export interface Spread extends Summary {
  p99: number;
  most: number;
}

export function summarise(values: readonly number[]): Summary {
  const { n, median, p95 } = spreadOf(values);
  return { n, median, p95 };
}

export function spreadOf(values: readonly number[]): Spread {
  const sorted = Float64Array.from(values).sort();
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;
  return { n: sorted.length, median: at(0.5), p95: at(0.95), p99: at(0.99), most: sorted.at(-1) ?? Number.NaN };
}

/** The slope of the line through points by least squares: units of y for one of x. */
export function slopeOf(points: readonly (readonly [x: number, y: number])[]): number {
  const mean = (at: 0 | 1) => points.reduce((sum, point) => sum + point[at], 0) / points.length;
  const [x, y] = [mean(0), mean(1)];
  const above = points.reduce((sum, point) => sum + (point[0] - x) * (point[1] - y), 0);
  const below = points.reduce((sum, point) => sum + (point[0] - x) ** 2, 0);
  return above / below;
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
