import { totalmem } from 'node:os';
import process from 'node:process';
import { getHeapStatistics } from 'node:v8';
import { MiB } from './units.ts';

const GiB = 1024 * MiB;

/** The shares of a server's memory, bytes. */
export interface ServerMemory {
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

/**
 * Returns the shares for a process with this memory and heap. A request as JSON takes four times its size until it is accepted, two of
 * them on the heap. The files of a result are in memory once, until the journal has them in pieces: at most the share for results plus
 * what one run gives back, and about as much again that V8 has not collected yet. A process takes 150 MiB before it does anything. So
 * 512 MiB have room for one request of 64 MiB at a time, and for results of 64 MiB of any number of runs, which are read in turn.
 */
export function shareMemory(memory: number, heap: number): ServerMemory {
  const bodies = Math.max(MiB, Math.min(GiB, heap / 4, memory / 8));
  return {
    bodyLimit: Math.floor(Math.min(64 * MiB, bodies)),
    bodies: Math.floor(bodies),
    requests: Math.floor(Math.max(64 * MiB, Math.min(GiB, memory / 6))),
    results: Math.floor(Math.max(16 * MiB, Math.min(GiB, memory / 8))),
    output: Math.floor(Math.max(8 * MiB, Math.min(GiB / 2, memory / 16))),
  };
}

/** Returns the shares of this process, from its control group's limit or from the machine's memory. */
export function serverMemory(): ServerMemory {
  const constrained = process.constrainedMemory();
  const memory = constrained > 0 ? Math.min(constrained, totalmem()) : totalmem();
  return shareMemory(memory, getHeapStatistics().heap_size_limit);
}
