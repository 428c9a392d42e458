import { type Duplex, duplexPair } from 'node:stream';
import { DialledStream } from '../../src/drivers/swarm/dial/dialled.ts';
import type { Dialled } from '../../src/drivers/swarm/dial/listener.ts';

export interface FakeTask {
  /** As a listener hands it over. */
  dialled: Dialled;
  /** Its supervisor's end of the connection. */
  supervisor: Duplex;
}

/** A task that has dialled in and proved itself by a secret; its supervisor ends when it is told to, as a real one does. */
export function fakeTask(task: string, secret: string, node = 'n1'): FakeTask {
  const [socket, supervisor] = duplexPair();
  const stream = new DialledStream(socket, () => performance.now());
  supervisor.resume();
  supervisor.on('end', () => supervisor.end());
  supervisor.on('error', () => undefined); // a connection that was broken off
  const dialled = { service: 's', secret, task, node, remote: '127.0.0.1', stream, closed: stream.carrierClosed };
  return { dialled: { ...dialled, silentMs: () => stream.silentMs() }, supervisor };
}
