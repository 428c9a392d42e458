import { once } from 'node:events';
import { Duplex, duplexPair } from 'node:stream';
import { KatafleetError } from '../../src/core/errors.ts';
import type { Driver, Fingerprint, NodeImage, OwnedContainer, PreparedImage, Sandbox, SandboxSpec } from '../../src/drivers/contract.ts';
import { encodeFrame, FrameReader, hostFrame, supervisorFrame } from '../../src/protocol/frames.ts';
import { PayloadReader, PayloadWriter } from '../../src/protocol/wire.ts';

/** What goes wrong on purpose. */
export interface Faults {
  /** Creates that fail before one succeeds. */
  failCreates?: number;
  /** Says no word at all. */
  mute?: boolean;
  /** Removals are refused. */
  failRemoves?: boolean;
  /** As a node that is down. */
  unreachable?: boolean;
  /** Sandboxes that die when OPEN comes. */
  dieOnOpen?: number;
}

export const fakeFingerprint: Fingerprint = {
  node: 'fake',
  engineVersion: '0',
  apiVersion: '1.41',
  architecture: 'amd64',
  cpus: 4,
  memory: 8 * 1024 ** 3,
  kernel: 'none',
  cgroupVersion: '1',
  enforces: { memory: true, swap: true, pids: true, cpu: true },
  seccomp: true,
  swarm: 'inactive',
  storage: 'none',
  runtimes: ['none'],
  clockSkewMs: 0,
};

/** A node in memory: its supervisors echo the command on stdout and exit with 0. Faults can be set at any time. */
export class FakeDriver implements Driver {
  readonly kind = 'engine';
  readonly endpoint = 'fake://';
  readonly containers = new Map<string, { spec: SandboxSpec; end: Duplex }>();
  faults: Faults = {};
  /** Names of the images that it has; any other can be prepared too, but nobody knows it has them. */
  tags: string[] = ['any:latest'];
  created = 0;

  probe(): Promise<Fingerprint> {
    if (this.faults.unreachable) return Promise.reject(new KatafleetError('engine.unreachable', 'told not to answer'));
    return Promise.resolve(fakeFingerprint);
  }

  forget(): void {}

  prepare(name: string): Promise<PreparedImage> {
    if (name === 'unknown') return Promise.reject(new KatafleetError('image.unknown', 'no image "unknown"'));
    return Promise.resolve({ name, id: `sha256:${name}`, volumes: [] });
  }

  create(spec: SandboxSpec, signal?: AbortSignal): Promise<Sandbox> {
    signal?.throwIfAborted();
    if (this.faults.failCreates) {
      this.faults.failCreates -= 1;
      return Promise.reject(new KatafleetError('engine.failed', 'told to fail'));
    }
    this.created += 1;
    const id = `c${this.created}`;
    const [stream, end] = duplexPair();
    this.containers.set(id, { spec, end });
    void this.#supervise(end);
    const remove = () => {
      if (this.faults.failRemoves) {
        stream.destroy();
        return Promise.reject(new KatafleetError('engine.unreachable', 'told not to remove'));
      }
      this.containers.delete(id);
      stream.destroy();
      end.destroy();
      return Promise.resolve();
    };
    end.once('close', () => stream.destroy());
    return Promise.resolve({
      id,
      name: spec.name,
      node: 'fake',
      stream,
      closed: once(stream, 'close').then(() => undefined),
      ended: () => Promise.resolve({ exitCode: 137, oomKilled: false }),
      remove,
    });
  }

  async #supervise(end: Duplex): Promise<void> {
    end.on('error', () => undefined);
    if (this.faults.mute) return;
    end.write(encodeFrame(supervisorFrame.hello, new PayloadWriter().bytes(Buffer.from('KATA')).u16(1).u16(1).u32(1).str('fake').done()));
    const reader = new FrameReader();
    end.on('data', (chunk: Buffer) => {
      for (const { type, payload } of reader.read(chunk)) {
        if (type === hostFrame.open && this.faults.dieOnOpen) {
          this.faults.dieOnOpen -= 1;
          end.destroy();
          return;
        }
        if (type === hostFrame.close) end.destroy();
        if (type === hostFrame.exec) this.#exec(end, new PayloadReader(payload));
      }
    });
  }

  #exec(end: Duplex, payload: PayloadReader): void {
    const step = payload.u32();
    const flags = payload.u8();
    payload.bytes(48);
    payload.str();
    const argv = Array.from({ length: payload.u16() }, () => payload.str().toString());
    end.write(encodeFrame(supervisorFrame.started, new PayloadWriter().u32(step).done()));
    end.write(encodeFrame(supervisorFrame.stdout, Buffer.from(argv.join(' '))));
    const result = new PayloadWriter().u32(step).u8(0).u32(0).u32(0);
    for (let field = 0; field < 6; field += 1) result.u64(field === 4 ? argv.join(' ').length : 0);
    end.write(encodeFrame(supervisorFrame.result, result.done()));
    if (flags & 2) end.write(encodeFrame(supervisorFrame.collected, new PayloadWriter().u32(0).u64(0).u32(0).done()));
  }

  list(): Promise<OwnedContainer[]> {
    return Promise.resolve(Array.from(this.containers, ([id, { spec }]) => ({ id, running: true, labels: spec.labels })));
  }

  remove(id: string): Promise<void> {
    this.containers.get(id)?.end.destroy();
    this.containers.delete(id);
    return Promise.resolve();
  }

  images(): Promise<NodeImage[]> {
    return Promise.resolve(this.tags.map((tag) => ({ id: `sha256:${tag}`, tags: [tag], digests: [], size: 0, labels: {} })));
  }

  async ping(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.faults.unreachable) throw new KatafleetError('engine.unreachable', 'told not to answer');
  }

  /** Calls are over at once here, and streams are their owners' affair. */
  disconnect(): void {}

  close(): void {}
}
