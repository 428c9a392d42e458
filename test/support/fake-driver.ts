import { once } from 'node:events';
import { Duplex, duplexPair, Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { defined } from '../../src/base/defined.ts';
import { memoryOf } from '../../src/drivers/docker/container-name.ts';
import { KatafleetError } from '../../src/model/errors.ts';
import type { Machine } from '../../src/model/node.ts';
import type { SandboxLimits } from '../../src/model/profile.ts';
import type { Driver, Fingerprint, NodeImage, OwnedContainer, PreparedImage, Sandbox, SandboxSpec } from '../../src/drivers/contract.ts';
import { encodeFrame, FrameReader, hostFrame, maxPayload, supervisorFrame } from '../../src/protocol/frames.ts';
import { decodeExec, type Execution } from '../../src/protocol/requests.ts';
import { PayloadWriter } from '../../src/protocol/wire.ts';

/** Faults that a test sets. */
export interface Faults {
  /** This many creates fail before one succeeds. */
  failCreates?: number;
  /** Supervisors send nothing. */
  mute?: boolean;
  /** Removals fail. */
  failRemoves?: boolean;
  /** The node is down. */
  unreachable?: boolean;
  /** Calls get no answer until the driver is disconnected. */
  hang?: boolean;
  /** Calls fail with this error. */
  probeError?: KatafleetError;
  /** This many sandboxes die when they get OPEN. */
  dieOnOpen?: number;
  /** Exports of images fail. */
  failExports?: boolean;
  /** Creates that match never end until they are aborted, as in a swarm without room. */
  stall?: (spec: SandboxSpec) => boolean;
  /** Memory for its sandboxes, idle or not, bytes. A create beyond it finds no room. */
  room?: number;
}

export const fakeFingerprint: Fingerprint = {
  node: 'fake',
  engineId: 'FAKE',
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

/** A machine of a swarm, ready and active. */
export function fakeMachine(name: string, more: Partial<Machine> = {}): Machine {
  return {
    id: `id-${name}`,
    name,
    role: 'worker',
    leader: false,
    state: 'ready',
    availability: 'active',
    message: '',
    labels: {},
    architecture: 'amd64',
    engineVersion: '26.1.5',
    cpus: 2,
    memory: 4 * 1024 ** 3,
    address: '10.0.0.1',
    sandboxes: { idle: 0, busy: 0 },
    ...more,
  };
}

const [exited, killed] = [0, 4];

/**
 * A node in memory. Its supervisors print the command on stdout and exit with 0, with some exceptions: `exit N` exits with N, `hold`
 * runs until {@link FakeDriver.letGo} or a KILL, `print N` prints N bytes, `give N` sends a file of N bytes back, and `announce N`
 * announces such a file and sends none of its bytes. A test can set faults at any time.
 */
export class FakeDriver implements Driver {
  readonly kind = 'engine';
  readonly listsFast = true;
  readonly endpoint: string;
  readonly containers = new Map<
    string,
    { spec: Pick<SandboxSpec, 'labels'>; end: Duplex; running: boolean; created?: number; memory: number }
  >();
  faults: Faults = {};
  fingerprint: Fingerprint = fakeFingerprint;
  /** Names of its images. Any other image can be prepared too, but the inventory does not show it. */
  tags: string[] = ['any:latest'];
  /** Replaces the inventory that follows from {@link tags}. */
  inventory: NodeImage[] | undefined;
  created = 0;
  probes = 0;
  imports = 0;
  /** How many creates {@link Faults.stall} holds back. */
  stalled = 0;
  /** Exit code of its ended containers. */
  exitCode: number | undefined = 137;
  /** Whether a broken stream counts as the silence of its machine. */
  silent = false;
  starts: number | undefined;
  machines: (() => Promise<Machine[]>) | undefined;
  setAvailability: ((machine: string, availability: Machine['availability']) => Promise<void>) | undefined;
  troubles: ((image: string, limits: SandboxLimits) => Promise<string[]>) | undefined;
  /** The machines behind it, if {@link asSwarm} was called. A sandbox goes to the first machine that takes any. */
  standing: Machine[] = [];
  /** How often the machines were listed. */
  asked = 0;
  /** Commands that began, in their order. */
  readonly executed: string[] = [];
  readonly removedImages: string[] = [];
  /** The engine's clock at the last create, Unix ms: no two creates are at the same time. */
  #clock = Date.now();
  readonly #held = new Set<() => void>();
  readonly #hanging = new Set<(error: Error) => void>();
  #imagesChanged: (() => void) | undefined;

  constructor(endpoint = 'fake://') {
    this.endpoint = endpoint;
  }

  /** Makes it a swarm's manager. A probe then shows the memory and CPUs of the machines that take sandboxes. */
  asSwarm(...machines: Machine[]): void {
    this.standing = machines;
    this.machines = async () => {
      this.asked += 1;
      await this.#answer();
      return this.standing.map((machine) => ({ ...machine }));
    };
    this.setAvailability = async (wanted, availability) => {
      await this.#answer();
      const machine = this.standing.find(({ id }) => id === wanted);
      if (!machine) throw new KatafleetError('node.unknown', `no machine ${wanted}`);
      machine.availability = availability;
    };
  }

  get #usable(): Machine[] {
    return this.standing.filter(({ state, availability }) => state === 'ready' && availability === 'active');
  }

  probe(): Promise<Fingerprint> {
    this.probes += 1;
    return this.identify();
  }

  async identify(): Promise<Fingerprint> {
    await this.#answer();
    if (!this.machines) return this.fingerprint;
    const most = (of: (machine: Machine) => number) => Math.max(0, ...this.#usable.map(of));
    const sum = (of: (machine: Machine) => number) => this.#usable.reduce((total, machine) => total + of(machine), 0);
    const [memory, cpus] = [({ memory: bytes }: Machine) => bytes, ({ cpus: count }: Machine) => count];
    return {
      ...this.fingerprint,
      swarm: 'manager',
      memory: sum(memory),
      cpus: sum(cpus),
      largest: { memory: most(memory), cpus: most(cpus) },
    };
  }

  forget(): void {}

  /** Answers, or fails or hangs, as the faults say. */
  async #answer(): Promise<void> {
    if (this.faults.hang) await new Promise<void>((_resolve, reject) => this.#hanging.add(reject));
    if (this.faults.probeError) throw this.faults.probeError;
    if (this.faults.unreachable) throw new KatafleetError('engine.unreachable', 'told not to answer');
  }

  prepare(name: string): Promise<PreparedImage> {
    if (name === 'unknown') return Promise.reject(new KatafleetError('image.unknown', 'no image "unknown"'));
    return Promise.resolve({ name, id: `sha256:${name}`, volumes: [] });
  }

  async create(spec: SandboxSpec, signal?: AbortSignal): Promise<Sandbox> {
    signal?.throwIfAborted();
    await this.#answer();
    if (this.faults.failCreates) {
      this.faults.failCreates -= 1;
      throw new KatafleetError('engine.failed', 'told to fail');
    }
    if (this.faults.stall?.(spec)) await this.#stall(signal);
    const { memory } = spec.limits;
    const taken = Array.from(this.containers.values()).reduce((sum, container) => sum + container.memory, 0);
    if (taken + memory > (this.faults.room ?? Infinity))
      throw new KatafleetError('node.full', 'no suitable node (insufficient resources on 1 node)');
    this.created += 1;
    const id = `c${this.created}`;
    const [stream, end] = duplexPair();
    this.containers.set(id, { spec, end, running: true, created: (this.#clock += 1), memory });
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
    return {
      id,
      name: spec.name,
      node: this.#usable[0]?.id ?? 'fake',
      stream,
      closed: once(stream, 'close').then(() => undefined),
      ended: () => Promise.resolve({ exitCode: this.exitCode, oomKilled: false, silent: this.silent }),
      remove,
    };
  }

  #stall(signal: AbortSignal | undefined): Promise<never> {
    this.stalled += 1;
    return new Promise((_resolve, reject) => {
      this.#hanging.add(reject);
      signal?.addEventListener('abort', () => reject(signal.reason instanceof Error ? signal.reason : new Error('aborted')), {
        once: true,
      });
    });
  }

  async #supervise(end: Duplex): Promise<void> {
    end.on('error', () => undefined);
    if (this.faults.mute) return;
    end.write(encodeFrame(supervisorFrame.hello, new PayloadWriter().bytes(Buffer.from('KATA')).u16(1).u16(1).u32(1).str('fake').done()));
    const reader = new FrameReader();
    let kill: (() => void) | undefined;
    end.on('data', (chunk: Buffer) => {
      for (const { type, payload } of reader.read(chunk)) {
        if (type === hostFrame.open && this.faults.dieOnOpen) {
          this.faults.dieOnOpen -= 1;
          end.destroy();
          return;
        }
        if (type === hostFrame.close) end.destroy();
        if (type === hostFrame.kill) kill?.();
        if (type === hostFrame.exec) kill = this.#exec(end, decodeExec(payload));
      }
    });
  }

  /** Runs a command. Returns what ends it early, if the command holds. */
  #exec(end: Duplex, { step, argv, collect }: Execution): (() => void) | undefined {
    const said = argv.join(' ');
    this.executed.push(said);
    end.write(encodeFrame(supervisorFrame.started, new PayloadWriter().u32(step).done()));
    const printed = argv[0] === 'print' ? Buffer.alloc(Number(argv[1]), 'x') : Buffer.from(said);
    for (let at = 0; at < printed.length; at += maxPayload)
      end.write(encodeFrame(supervisorFrame.stdout, printed.subarray(at, at + maxPayload)));
    const finish = (how: number, code: number) => {
      const result = new PayloadWriter().u32(step).u8(how).u32(code).u32(0);
      for (let field = 0; field < 6; field += 1) result.u64(field === 4 ? printed.length : 0);
      end.write(encodeFrame(supervisorFrame.result, result.done()));
      if (collect) this.#collected(end, argv);
    };
    if (argv[0] !== 'hold') {
      finish(exited, argv[0] === 'exit' ? Number(argv[1]) : 0);
      return undefined;
    }
    const over = (how: number) => {
      if (!this.#held.delete(goOn)) return;
      finish(how, 0);
    };
    const goOn = () => over(exited);
    this.#held.add(goOn);
    return () => over(killed);
  }

  #collected(end: Duplex, [what, number]: readonly string[]): void {
    const size = what === 'give' || what === 'announce' ? Number(number) : 0;
    if (size > 0) {
      const header = new PayloadWriter().u8(1).u32(0o644).i64(1n).u32(0).u64(size).str('made');
      end.write(encodeFrame(supervisorFrame.file, header.done()));
      if (what === 'announce') return;
      for (let left = size; left > 0; left -= maxPayload)
        end.write(encodeFrame(supervisorFrame.data, Buffer.alloc(Math.min(left, maxPayload))));
    }
    const counts = new PayloadWriter().u32(size > 0 ? 1 : 0).u64(size);
    end.write(encodeFrame(supervisorFrame.collected, counts.u32(0).done()));
  }

  /** How many commands hold. */
  get holding(): number {
    return this.#held.size;
  }

  /** Ends the command that has held the longest, or all of them. */
  letGo(which: 'one' | 'all' = 'all'): void {
    for (const goOn of [...this.#held]) {
      goOn();
      if (which === 'one') return;
    }
  }

  /** Adds a container that another process, or an earlier one, left on the node. */
  plant(id: string, labels: Readonly<Record<string, string>>, running = true): void {
    const [, end] = duplexPair();
    this.containers.set(id, { spec: { labels }, end, running, memory: 0 });
  }

  async list(): Promise<OwnedContainer[]> {
    await this.#answer();
    return Array.from(this.containers, ([id, { spec, running, created }]) => ({
      id,
      running,
      ...defined({ created, memory: memoryOf(spec.labels) }),
      labels: spec.labels,
    }));
  }

  remove(id: string): Promise<void> {
    this.containers.get(id)?.end.destroy();
    this.containers.delete(id);
    return Promise.resolve();
  }

  async images(): Promise<NodeImage[]> {
    await this.#answer();
    return this.inventory ?? this.tags.map((tag) => ({ id: `sha256:${tag}`, tags: [tag], digests: [], size: 0, labels: {} }));
  }

  watchImages(changed: () => void, signal: AbortSignal): Promise<void> {
    this.#imagesChanged = changed;
    return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
  }

  /** Reports a change of its images, as an engine does. */
  tellOfImages(): void {
    this.#imagesChanged?.();
  }

  exportImage(name: string): Promise<Readable> {
    if (this.faults.failExports) return Promise.reject(new KatafleetError('engine.failed', 'told not to export'));
    return Promise.resolve(Readable.from([name]));
  }

  async importImage(archive: Readable): Promise<void> {
    await this.#answer();
    this.imports += 1;
    this.tags.push(await text(archive));
  }

  removeImage(name: string): Promise<void> {
    this.removedImages.push(name);
    return Promise.resolve();
  }

  async ping(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const late = new Promise<never>((_resolve, reject) =>
      signal.addEventListener('abort', () => reject(new KatafleetError('engine.timeout', 'told to hang')), { once: true }),
    );
    await Promise.race([this.#answer(), late]);
  }

  /** Breaks every container's stream, as a lost network does. */
  breakStreams(): void {
    for (const { end } of this.containers.values()) end.destroy();
  }

  /** Fails the calls that hang. Leaves the streams open. */
  disconnect(): void {
    for (const reject of this.#hanging) reject(new KatafleetError('engine.unreachable', 'disconnected'));
    this.#hanging.clear();
  }

  close(): void {
    this.disconnect();
  }
}
