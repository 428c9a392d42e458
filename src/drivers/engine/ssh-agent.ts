import http from 'node:http';
import type { Duplex } from 'node:stream';
import type { SshTransport } from '../transport/transport.ts';

/** An http agent that connects through `docker system dial-stdio` over ssh. */
export class SshAgent extends http.Agent {
  readonly #transport: SshTransport;
  readonly #open = new Set<Duplex>();

  constructor(transport: SshTransport) {
    super({ keepAlive: true, maxFreeSockets: 4 });
    this.#transport = transport;
  }

  override createConnection(): Duplex {
    const connection = this.#transport.open(['docker', 'system', 'dial-stdio'], ({ code, stderr }) =>
      code === 0 || code === undefined ? undefined : Object.assign(new Error(`ssh: ${stderr.trim() || `exit ${code}`}`), { code: 'ESSH' }),
    );
    this.#open.add(connection);
    connection.once('close', () => this.#open.delete(connection));
    return connection;
  }

  /** Also destroys upgraded connections, which the base class does not track. */
  override destroy(): void {
    super.destroy();
    for (const connection of this.#open) connection.destroy();
  }
}
