import { type MessagePort, parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import type { Batch, Said, WorkerOptions } from '../commands.ts';
import { sentError } from '../sent-error.ts';
import { Engine } from './engine.ts';

/** The thread of the store; src/store/caller/worker-link.ts starts it by its file. */

/** Most batches of a turn: the first of them waits for the last. */
const mostBatches = 256;

const port = parentPort as MessagePort;
const say = (said: Said) => port.postMessage(said);
try {
  const engine = new Engine(workerData as WorkerOptions, say);
  port.on('message', (first: Batch | 'close') => {
    const batches: Batch[] = [];
    let message = first;
    for (;;) {
      if (message === 'close') break;
      batches.push(message);
      const next = batches.length < mostBatches ? receiveMessageOnPort(port) : undefined;
      if (!next) break;
      message = next.message as Batch | 'close';
    }
    if (batches.length > 0) engine.turn(batches);
    if (message !== 'close') return;
    engine.close();
    port.close();
  });
  say({ opened: engine.opened });
} catch (error) {
  say({ closed: sentError(error) });
}
