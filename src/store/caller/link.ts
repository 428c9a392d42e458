import { startThread } from '../../base/package-folder.ts';
import { KatafleetError, messageOf } from '../../model/errors.ts';
import type { Batch, Opened, Said, WorkerOptions } from '../commands.ts';
import { receivedError } from '../sent-error.ts';
import { Engine } from '../worker/engine.ts';

/** A way to the database of the store. */
export interface Link {
  readonly opened: Opened;
  post(batch: Batch): void;
  /** Keeps the process alive, or lets it end. */
  hold(alive: boolean): void;
  /** Resolves when the database is closed. */
  close(): Promise<void>;
  /** Ends it, whatever it does. `gone` is called when it has ended. */
  kill(): void;
}

export interface Hears {
  said: (said: Said) => void;
  /** It has ended by itself, or was killed. */
  gone: (why: string) => void;
}

/** Opens the database. @throws journal.locked, journal.broken, journal.newer */
export type OpenLink = (options: WorkerOptions, hears: Hears) => Promise<Link>;

/** Opens the database in a thread of its own. */
export const openWorker: OpenLink = (workerData, hears) =>
  new Promise((resolve, reject) => {
    const worker = startThread('store/worker/main', { workerData, name: 'katafleet-store', execArgv: [] });
    let opened = false;
    let ended: (() => void) | undefined;
    let fault: unknown;
    worker.on('message', (said: Said) => {
      if (said.closed) reject(receivedError(said.closed));
      if (said.opened) {
        opened = true;
        resolve({
          opened: said.opened,
          post: (batch) => worker.postMessage(batch),
          hold: (alive) => (alive ? worker.ref() : worker.unref()),
          close: () =>
            new Promise((closed) => {
              ended = closed;
              worker.ref();
              worker.postMessage('close');
            }),
          kill: () => void worker.terminate(),
        });
      } else hears.said(said);
    });
    worker.on('error', (error) => (fault = error));
    worker.on('exit', (code) => {
      const why = fault === undefined ? `its thread ended with ${code}` : messageOf(fault);
      if (!opened) reject(new KatafleetError('journal.unavailable', `the journal can't be opened: ${why}`, { cause: fault }));
      else if (ended) ended();
      else hears.gone(why);
    });
  });

/** Opens the database in this thread: one in memory, which has nothing that takes long. */
export const openHere: OpenLink = (options, hears) => {
  const batches: Batch[] = [];
  let turn: NodeJS.Immediate | undefined;
  let open = true;
  return new Promise((resolve) => {
    const engine = new Engine(options, (said) => setImmediate(() => hears.said(said)));
    const close = () => {
      if (open) engine.close();
      open = false;
      clearImmediate(turn);
    };
    resolve({
      opened: engine.opened,
      post: (batch) => {
        batches.push(structuredClone(batch)); // as a thread gets it
        turn ??= setImmediate(() => {
          turn = undefined;
          engine.turn(batches.splice(0));
        });
      },
      hold: () => undefined,
      close: () => {
        close();
        return Promise.resolve();
      },
      kill: () => {
        close();
        hears.gone('it was ended');
      },
    });
  });
};
