import { totalmem } from 'node:os';
import process from 'node:process';
import { getHeapStatistics } from 'node:v8';
import type { ByteBudget } from './byte-budget.ts';
import { BytePool } from './byte-pool.ts';
import { MiB } from './units.ts';

const GiB = 1024 * MiB;
/** What a process takes before it does anything, bytes. */
const ownMemory = 150 * MiB;
/** A body as JSON takes this many times its size beside the bytes themselves until it is accepted. */
const bodyWeight = 3;
/** The files of a result are in memory once, and about as much again that V8 has not collected yet. */
const resultWeight = 2;

/** The bounds of a server's memory, bytes. */
export interface ServerMemory {
  /** All that follows, together. */
  all: number;
  /** Largest request. */
  bodyLimit: number;
  /** All requests that are read at once. */
  bodies: number;
  /** Files and inputs of all runs that wait or run. */
  requests: number;
  /** Files of results on their way from sandboxes to the journal; as much again for results on their way to clients. */
  results: number;
  /** Output of running steps, beyond what each run may always hold. */
  output: number;
}

/** A quarter of each bound but that of the bodies is a floor: no other use of the memory takes it. */
const floorOf = (most: number) => Math.floor(most / 4);

/**
 * Returns the bounds for a process with this memory and heap. A request as JSON takes four times its size until it is accepted, two of
 * them on the heap. So 512 MiB have room for one request of 64 MiB at a time, and for results of 64 MiB of any number of runs, which
 * are read in turn.
 */
export function shareMemory(memory: number, heap: number): ServerMemory {
  const all = Math.floor(Math.max(memory / 2, Math.min((memory * 3) / 4, memory - ownMemory)));
  const bodies = Math.max(MiB, Math.min(GiB, heap / 4, memory / 8));
  const requests = Math.floor(Math.max(64 * MiB, Math.min(GiB, memory / 6)));
  const results = Math.floor(Math.max(16 * MiB, Math.min(GiB, memory / 8)));
  const output = Math.floor(Math.max(8 * MiB, Math.min(GiB / 2, memory / 16)));
  const left = all - resultWeight * floorOf(results) - floorOf(results) - floorOf(output);
  return {
    all,
    // The largest request must be taken while nothing else is held.
    bodyLimit: Math.floor(Math.min(64 * MiB, bodies, left / (bodyWeight + 1), (left - floorOf(requests)) / bodyWeight)),
    bodies: Math.floor(bodies),
    requests,
    results,
    output,
  };
}

/** Returns the bounds of this process, from its control group's limit or from the machine's memory. */
export function serverMemory(): ServerMemory {
  const constrained = process.constrainedMemory();
  const memory = constrained > 0 ? Math.min(constrained, totalmem()) : totalmem();
  return shareMemory(memory, getHeapStatistics().heap_size_limit);
}

/**
 * One budget over all that a server holds for its clients. A run's way through it: while its body is read and parsed, the body's bytes
 * are in `requests` and, three times more, in `bodies`. When the run is accepted, `bodies` gets them back, and `requests` keeps the
 * bytes of the run's files and inputs until the run has ended and its end is stored. What its sandbox prints is in `output`, the files
 * that come back are in `results` until they are stored, and an answer with the result is in `answers` until the client has read it.
 *
 * Each class but `bodies` has a floor that the others can't take. So what runs can always end: its result comes in and is read by
 * clients however many requests wait, and new requests come in when clients do not read their answers.
 */
export interface MemoryBudget {
  pool: BytePool;
  bodies: ByteBudget;
  requests: ByteBudget;
  results: ByteBudget;
  answers: ByteBudget;
  output: ByteBudget;
  /** Output that each run may hold in any case: it is counted, so that new requests are refused, and never refused itself. */
  freeOutput: ByteBudget;
}

/**
 * Makes the budget.
 * @param bounds the most bytes of all runs that wait or run (`queue.bytes`), and of one body (`server.bodyLimit`), as configured
 */
export function budgetOf(memory: ServerMemory, bounds: { requests?: number; bodyLimit?: number } = {}): MemoryBudget {
  const { requests = memory.requests, bodyLimit = memory.bodyLimit } = bounds;
  const pool = new BytePool(memory.all);
  // The order in which those that wait are served.
  const results = pool.budget({ most: memory.results, floor: floorOf(memory.results), weight: resultWeight });
  const answers = pool.budget({ most: memory.results, floor: floorOf(memory.results) });
  const output = pool.budget({ most: memory.output, floor: floorOf(memory.output) });
  return {
    pool,
    results,
    answers,
    output,
    freeOutput: pool.budget({ most: Infinity }),
    requests: pool.budget({ most: requests, floor: Math.min(requests, floorOf(memory.requests)) }),
    bodies: pool.budget({ most: Math.max(memory.bodies, bodyLimit), weight: bodyWeight }),
  };
}
