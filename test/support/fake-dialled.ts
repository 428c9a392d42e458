import { type Duplex, duplexPair } from 'node:stream';
import { DialledStream } from '../../src/drivers/swarm/dial/dialled.ts';
import type { Dialled } from '../../src/drivers/swarm/dial/listener.ts';

export interface FakeTask {
  /** The connection as a listener hands it over. */
  dialled: Dialled;
  /** The supervisor's end of the connection. */
  supervisor: Duplex;
}

/** A task that has dialled in and proved its secret. Its supervisor ends on request, as a real one does. */
export function fakeTask(task: string, secret: string, node = 'n1'): FakeTask {
  const [socket, supervisor] = duplexPair();
  const stream = new DialledStream(socket, () => performance.now());
  supervisor.resume();
  supervisor.on('end', () => supervisor.end());
  supervisor.on('error', () => undefined); // a broken connection
  const dialled = { service: 's', secret, task, node, remote: '127.0.0.1', stream, closed: stream.carrierClosed };
  return { dialled: { ...dialled, silentMs: () => stream.silentMs() }, supervisor };
}
