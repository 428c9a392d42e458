import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { KatafleetError, messageOf } from '../../../model/errors.ts';
import type { Identity } from '../../../protocol/dial.ts';
import { type ConnectionEnd, DialledStream } from './dialled.ts';
import { type HandshakeResult, Stranger } from './handshake.ts';
import { Strangers } from './strangers.ts';
import { Troubles } from './troubles.ts';

/** A sandbox that has dialled in and authenticated. */
export interface Dialled extends Readonly<Identity> {
  /** Address it came from. */
  readonly remote: string;
  /** The supervisor's protocol, without ALIVE frames. Destroyed when the peer ends, breaks off or is silent for too long. */
  readonly stream: DialledStream;
  /** Resolves when the connection is over. */
  readonly closed: Promise<ConnectionEnd>;
  /** Time since its last bytes (ms). Time in which the stream is not read does not count. */
  silentMs(): number;
}

/** Receives the sandboxes of one service. */
export interface SandboxReceiver {
  /** The key of a secret by its name; undefined if the service does not, or no longer, use that secret. */
  keyOf(secret: string): Buffer | undefined;
  /** Takes over a sandbox that has authenticated. */
  take(dialled: Dialled): void;
}

/** The clock that measures silence; tests pass their own. */
export interface Pulse {
  /** Monotonic time (ms). */
  readonly now: () => number;
  /** Calls back periodically until the returned function is called. Does not keep the process alive. */
  readonly every: (ms: number, call: () => void) => () => void;
}

export interface ListenerOptions {
  host: string;
  /** 0 takes any free port. */
  port: number;
  /** How often a supervisor sends ALIVE (ms). 0: never, and silence is not checked. Default 1000. */
  heartbeatMs?: number;
  /** How long a supervisor may be silent (ms). Default 3000. */
  silenceMs?: number;
  /** How long a handshake may take (ms). Default 5000. */
  handshakeMs?: number;
  /** Greatest number of connections that have not authenticated yet. Default 1024. */
  pending?: number;
  /** Called with troubles of handshakes, at most once a second for each kind. */
  onTrouble?: (message: string) => void;
  pulse?: Pulse;
}

const steadyPulse: Pulse = {
  now: () => performance.now(),
  every: (ms, call) => {
    const timer = setInterval(call, ms).unref();
    return () => clearInterval(timer);
  },
};
/** All tasks of a pool may dial at the same time. The kernel may allow fewer: net.core.somaxconn. */
const backlog = 1_024;
const keepAliveMs = 1_000;
/** When one sandbox of a node falls silent, the node's other sandboxes are given up too if they are silent for this many heartbeats. */
const missedHeartbeats = 1.5;

type Trouble = 'service' | 'secret' | 'downgrade' | 'busy' | 'strange' | 'late' | 'crowd' | 'receiver' | 'server';
const troubleOf = { unknownService: 'service', wrongSecret: 'secret', downgraded: 'downgrade', busy: 'busy' } as const;

/** The port that the sandboxes of a swarm dial. Authenticates each connection, and then watches it for silence. */
export class Listener {
  readonly #options: Required<Omit<ListenerOptions, 'onTrouble'>>;
  readonly #server: Server;
  readonly #receivers = new Map<string, SandboxReceiver>();
  readonly #strangers: Strangers<Stranger<SandboxReceiver>>;
  readonly #connected = new Map<DialledStream, Dialled>();
  readonly #troubles: Troubles<Trouble>;
  #refused = 0;
  #listening: Promise<number> | undefined;
  #stopWatch: (() => void) | undefined;
  #watchedAt = 0;
  #closed: Promise<void> | undefined;

  constructor({ onTrouble = () => undefined, ...options }: ListenerOptions) {
    this.#options = { heartbeatMs: 1_000, silenceMs: 3_000, handshakeMs: 5_000, pending: 1_024, pulse: steadyPulse, ...options };
    this.#strangers = new Strangers(this.#options.pending);
    this.#troubles = new Troubles(onTrouble);
    // Half-open, so that what a task sends before its end is read before its end is noticed.
    const server = { allowHalfOpen: true, noDelay: true, keepAlive: true, keepAliveInitialDelay: keepAliveMs };
    this.#server = createServer(server, (socket) => this.#accept(socket));
  }

  /** Begins to listen, at the first call. Resolves with the port. @throws server.address */
  ready(): Promise<number> {
    this.#listening ??= this.#listen();
    return this.#listening;
  }

  async #listen(): Promise<number> {
    const { host, port } = this.#options;
    try {
      await new Promise<void>((resolve, reject) => {
        this.#server.once('error', reject);
        this.#server.listen({ host, port, backlog }, () => {
          this.#server.off('error', reject);
          resolve();
        });
      });
    } catch (cause) {
      this.#listening = undefined;
      throw new KatafleetError('server.address', `can't listen for tasks on ${host}:${port}: ${messageOf(cause)}`, {
        cause,
        hint: 'another katafleet may be there; swarm.listen in the configuration names another address',
      });
    }
    this.#server.on('error', (error) => this.#trouble('server', `a task could not be let in: ${error.message}`));
    this.#watch();
    return (this.#server.address() as AddressInfo).port;
  }

  /** Admits the tasks of a service until the returned function is called. A later call for the same service replaces the receiver. */
  admit(service: string, receiver: SandboxReceiver): () => void {
    this.#receivers.set(service, receiver);
    return () => {
      if (this.#receivers.get(service) === receiver) this.#receivers.delete(service);
    };
  }

  /** For metrics: connections in a handshake, sandboxes, and connections refused so far. */
  get counts(): { pending: number; connected: number; refused: number } {
    return { pending: this.#strangers.size, connected: this.#connected.size, refused: this.#refused };
  }

  /** Stops listening and drops all connections. Resolves when they are closed. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    await this.#listening?.catch(() => undefined); // the callers of `ready` get the error
    this.#stopWatch?.();
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const stranger of this.#strangers.takeOlder(Infinity)) stranger.drop();
    for (const stream of this.#connected.keys()) stream.destroy();
    await closed;
  }

  #trouble(kind: Trouble, message: string): void {
    this.#troubles.tell(kind, message, this.#options.pulse.now());
  }

  #turnAway(kind: Trouble, message: string): void {
    this.#refused += 1;
    this.#trouble(kind, message);
  }

  #accept(socket: Socket): void {
    const remote = socket.remoteAddress?.replace(/^::ffff:/, '');
    if (remote === undefined || this.#closed) {
      socket.on('error', () => undefined); // it is closed already
      socket.destroy();
      return;
    }
    const door = { heartbeatMs: this.#options.heartbeatMs, ringOf: (service: string) => this.#receivers.get(service) };
    const stranger = new Stranger<SandboxReceiver>(socket, remote, this.#options.pulse.now(), door, (outcome) => {
      if (this.#strangers.delete(stranger)) this.#judged(remote, outcome);
    });
    const crowded = this.#strangers.add(stranger);
    if (!crowded) return;
    crowded.drop();
    this.#turnAway('crowd', `too many connections that prove nothing; the oldest from ${crowded.remote} went`);
  }

  #judged(remote: string, outcome: HandshakeResult<SandboxReceiver>): void {
    if (outcome.kind === 'admitted') this.#admit(remote, outcome);
    else if (outcome.kind === 'strange') this.#turnAway('strange', `no task of katafleet's, from ${remote}: it sent ${outcome.what}`);
    else if (outcome.kind === 'refused') {
      const { service, secret, task, node } = outcome.answer;
      const who = `a task from ${remote} that calls itself ${shown(task)} of ${shown(service)} on ${shown(node)}`;
      const why = {
        unknownService: 'there is no such service',
        wrongSecret: `its secret ${shown(secret)} is wrong`,
        downgraded: 'somebody between here and there changed what versions of the handshake it was offered',
        busy: 'its pool closes',
      };
      this.#turnAway(troubleOf[outcome.why], `${who} was refused: ${why[outcome.why]}`);
    }
  }

  #admit(remote: string, { answer, ring, socket }: Extract<HandshakeResult<SandboxReceiver>, { kind: 'admitted' }>): void {
    const { service, secret, task, node } = answer;
    const stream = new DialledStream(socket, this.#options.pulse.now);
    const closed = stream.carrierClosed;
    const dialled = { service, secret, task, node, remote, stream, closed, silentMs: () => stream.silentMs() };
    this.#connected.set(stream, dialled);
    void closed.then(() => this.#connected.delete(stream));
    try {
      ring.take(dialled);
    } catch (error) {
      stream.destroy();
      this.#trouble('receiver', `the pool of ${service} could not take a task: ${messageOf(error)}`);
    }
  }

  #watch(): void {
    const { heartbeatMs, silenceMs, handshakeMs, pulse } = this.#options;
    const everyMs = Math.max(1, Math.min(heartbeatMs || silenceMs, silenceMs, handshakeMs) / 4);
    this.#watchedAt = pulse.now();
    this.#stopWatch = pulse.every(everyMs, () => {
      const late = pulse.now() - this.#watchedAt > 2 * everyMs;
      this.#watchedAt = pulse.now();
      this.#troubles.flush(this.#watchedAt);
      this.#giveUpSilent(late);
      if (!late) this.#giveUpLate();
    });
  }

  /** If this process itself was held up, received bytes have not been read yet: that time does not count as silence. */
  #giveUpSilent(heldUp: boolean): void {
    const { heartbeatMs, silenceMs } = this.#options;
    if (heartbeatMs === 0) return;
    const silentNodes = new Set<string>();
    for (const [stream, { node }] of this.#connected) {
      if (heldUp) stream.forgive();
      else if (stream.silentMs() > silenceMs) silentNodes.add(node);
    }
    if (silentNodes.size === 0) return;
    const missedMs = Math.min(silenceMs, missedHeartbeats * heartbeatMs);
    for (const [stream, { node }] of this.#connected) {
      if (silentNodes.has(node) && stream.silentMs() > missedMs) stream.giveUp();
    }
  }

  #giveUpLate(): void {
    for (const stranger of this.#strangers.takeOlder(this.#options.pulse.now() - this.#options.handshakeMs)) {
      stranger.drop();
      this.#turnAway('late', `no answer to the challenge in time from ${stranger.remote}`);
    }
  }
}

/** A text that a peer sent, made safe for a log. */
function shown(text: string): string {
  return `"${text.slice(0, 64).replace(/[^ -~]/g, '?')}"`;
}
