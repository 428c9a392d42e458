import { once } from 'node:events';
import { connect } from 'node:net';
import type { Driver, Fingerprint, NodeImage, OwnedContainer, PreparedImage, Sandbox, SandboxSpec } from '../../../src/drivers/contract.ts';

/** A node without an engine: a sandbox is a connection to the process of load/supervisors.ts. */
export class SocketDriver implements Driver {
  readonly kind = 'engine';
  readonly endpoint: string;
  readonly #path: string;
  readonly #fingerprint: Fingerprint;
  #made = 0;

  constructor(endpoint: string, path: string, fingerprint: Fingerprint) {
    this.endpoint = endpoint;
    this.#path = path;
    this.#fingerprint = fingerprint;
  }

  probe(): Promise<Fingerprint> {
    return Promise.resolve(this.#fingerprint);
  }

  forget(): void {}

  prepare(name: string): Promise<PreparedImage> {
    return Promise.resolve({ name, id: `sha256:${name}`, volumes: [] });
  }

  async create({ name }: SandboxSpec): Promise<Sandbox> {
    this.#made += 1;
    const stream = connect({ path: this.#path });
    await once(stream, 'connect');
    const closed = new Promise<void>((resolve) => stream.once('close', () => resolve()));
    return {
      id: `c${this.#made}`,
      name,
      node: 'socket',
      stream,
      closed,
      ended: () => Promise.resolve({ exitCode: 0, oomKilled: false }),
      remove: () => {
        stream.destroy();
        return Promise.resolve();
      },
    };
  }

  list(): Promise<OwnedContainer[]> {
    return Promise.resolve([]);
  }

  remove(): Promise<void> {
    return Promise.resolve();
  }

  images(): Promise<NodeImage[]> {
    return Promise.resolve([{ id: 'sha256:any:latest', tags: ['any:latest'], digests: [], size: 1, labels: {} }]);
  }

  ping(): Promise<void> {
    return Promise.resolve();
  }

  disconnect(): void {}

  close(): void {}
}
