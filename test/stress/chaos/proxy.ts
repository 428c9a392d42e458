import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

/** The beginning of a request that makes a container; docker's client sends each request's head in a piece of its own. */
const creates = /^POST \/(v[\d.]+\/)?containers\/create/;

/**
 * Stands between katafleet and an engine's TCP port and passes everything on. While it hangs, it takes requests that make containers and
 * never answers them; all else goes on, `/_ping` too.
 */
export class EngineProxy implements AsyncDisposable {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #swallowed = new Set<Socket>();
  /** How many requests it has swallowed. */
  swallowed = 0;
  #hangs = false;

  private constructor(host: string, port: number) {
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => this.#join(client, host, port));
  }

  static async to(host: string, port: number): Promise<EngineProxy> {
    const proxy = new EngineProxy(host, port);
    proxy.#server.listen(0, '127.0.0.1');
    await once(proxy.#server, 'listening');
    return proxy;
  }

  get endpoint(): string {
    return `tcp://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  hang(): void {
    this.#hangs = true;
  }

  /** Stops hanging. Requests that were swallowed get no answer: their connections break. */
  release(): void {
    this.#hangs = false;
    for (const client of this.#swallowed) client.destroy();
  }

  #join(client: Socket, host: string, port: number): void {
    const engine = connect({ host, port, allowHalfOpen: true, noDelay: true });
    for (const [from, to] of [
      [client, engine],
      [engine, client],
    ] as const) {
      this.#sockets.add(from);
      from.on('error', () => to.destroy());
      from.on('close', () => {
        this.#sockets.delete(from);
        this.#swallowed.delete(from);
        to.destroy();
      });
      from.on('end', () => to.end());
      to.on('drain', () => from.resume());
      from.on('data', (bytes: Buffer) => {
        if (from === client && this.#takes(client, bytes)) return;
        if (!to.write(bytes)) from.pause();
      });
    }
  }

  /** Whether the bytes are kept from the engine. After a swallowed request, so is all that follows on its connection. */
  #takes(client: Socket, bytes: Buffer): boolean {
    if (this.#swallowed.has(client)) return true;
    if (!this.#hangs || !creates.test(bytes.toString('latin1', 0, 64))) return false;
    this.swallowed += 1;
    this.#swallowed.add(client);
    return true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }
}
