import { totalmem } from 'node:os';
import process from 'node:process';
import { getHeapStatistics } from 'node:v8';
import { MiB } from './units.ts';

const GiB = 1024 * MiB;

/** What a server's memory is shared out to, bytes. */
export interface ServerMemory {
  /** Largest request. */
  bodyLimit: number;
  /** Requests that are being read at once. */
  bodies: number;
  /** Files and inputs of the runs that wait or run. */
  requests: number;
  /** Files of results that are on their way from a sandbox to the journal at once; as much for what is in memory of those on their way to clients. */
  results: number;
  /** Output of running steps, beside what each run has free. */
  output: number;
}

/**
 * The shares for a process of so much memory and heap. A request as JSON takes its size four times over until it is accepted, two of
 * them on the heap. The files of a result are in memory once, until the journal has them in pieces: at most the share for results and
 * what one run gives back, and about as much again that was let go and that V8 has not collected yet. In 512 MiB, of which a process
 * takes 150 before it does anything, that makes room for one request of 64 MiB at a time, and for results of 64 MiB of as many runs as
 * there are: each waits for its turn to be read.
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

/** The shares of this process: what its control group lets it have, or the machine has. */
export function serverMemory(): ServerMemory {
  const constrained = process.constrainedMemory();
  const memory = constrained > 0 ? Math.min(constrained, totalmem()) : totalmem();
  return shareMemory(memory, getHeapStatistics().heap_size_limit);
}
