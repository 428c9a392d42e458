import { MiB, minute, second } from '../../src/base/units.ts';
import { work } from './latencies.ts';

/** One press of the button. Bytes, ms. */
export interface Press {
  at: number;
  tenant: string;
  image: number;
  memory: number;
  /** On an idle node that is not slow. */
  workMs: number;
  constraints: readonly string[];
}

export interface WorkloadOptions {
  runs: number;
  random: () => number;
}

export const imageCount = 40;
const people = 30;
/** Presses of one person in a lesson: some when the teacher says so, the others when they like. */
const [together, alone] = [3, 8];
/** Lessons begin at these times, all of them within half a minute; and there is a minute before the first. */
const bells = [minute, 51 * minute];
const lessonMs = 40 * minute;
/** Share of the runs that come as batches of graders, thousands at once. */
const batchShare = 0.05;
const batchSize = 2_000;

/** How often each image is asked for; Zipf, the shares add up to 1. */
export const popularity: readonly number[] = zipf(imageCount);
const tenants = zipf(100);
const graders = 4;

export const isSchool = (tenant: string): boolean => tenant.startsWith('school-');

function zipf(count: number): number[] {
  const weights = Array.from({ length: count }, (_, index) => 1 / (index + 1));
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return weights.map((weight) => weight / sum);
}

function choose(weights: readonly number[], random: () => number): number {
  let left = random();
  for (const [index, weight] of weights.entries()) if ((left -= weight) < 0) return index;
  return weights.length - 1;
}

/** Classes of thirty that press within ten seconds of each other, and graders with batches, by time. */
export function workload({ runs, random }: WorkloadOptions): Press[] {
  const presses: Press[] = [];
  const batches = Math.floor(runs * batchShare);
  const workMs = () => work.medianMs * Math.exp(work.sigma * Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random()));
  while (presses.length < runs - batches) {
    const tenant = `school-${choose(tenants, random)}`;
    const image = choose(popularity, random);
    const memory = (random() < 0.2 ? 1024 : 512) * MiB;
    const constraints = random() < 0.05 ? ['disk==ssd'] : [];
    const begins = (bells[Math.floor(random() * bells.length)] ?? 0) + random() * 30 * second;
    const press = (at: number) => presses.push({ at, tenant, image, memory, workMs: workMs(), constraints });
    for (let burst = 0; burst < together; burst += 1) {
      const told = begins + (burst * lessonMs) / together;
      for (let person = 0; person < people; person += 1) press(told + random() * 10 * second);
    }
    for (let one = 0; one < people * alone; one += 1) press(begins + random() * lessonMs);
  }
  presses.length = runs - batches;
  while (presses.length < runs) {
    const grader = Math.floor(random() * graders);
    const at = (bells[Math.floor(random() * bells.length)] ?? 0) + random() * minute;
    const size = Math.min(batchSize, Math.ceil(batches / 4), runs - presses.length);
    for (let one = 0; one < size; one += 1) {
      const memory = 1024 * MiB;
      presses.push({ at, tenant: `grader-${grader}`, image: grader, memory, workMs: workMs(), constraints: [] });
    }
  }
  return presses.sort((a, b) => a.at - b.at);
}
