import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { KatafleetError, messageOf } from '../../../model/errors.ts';
import type { Identity } from '../../../protocol/dial.ts';
import { type ConnectionEnd, DialledStream } from './dialled.ts';
import { type HandshakeResult, Stranger } from './handshake.ts';
import { Strangers } from './strangers.ts';
import { Troubles } from './troubles.ts';

/** A sandbox that has dialled in and proved itself. */
export interface Dialled extends Readonly<Identity> {
  /** Address it came from. */
  readonly remote: string;
  /** The supervisor's protocol, without its signs of life. Destroyed when the peer ends, breaks off, or is silent for too long. */
  readonly stream: DialledStream;
  /** Resolves when the connection is over. */
  readonly closed: Promise<ConnectionEnd>;
  /** Since its last word, ms; while nobody reads the stream nobody listens either, and that does not count. */
  silentMs(): number;
}

/** Takes the sandboxes of one service. */
export interface SandboxReceiver {
  /** The key of a secret by its name; undefined if that secret is none of this service's, or no longer. */
  keyOf(secret: string): Buffer | undefined;
  /** Takes over a sandbox that has proved itself. */
  take(dialled: Dialled): void;
}

/** Time for the watch over silence; tests pass their own. */
export interface Pulse {
  /** ms on a clock that is never set. */
  readonly now: () => number;
  /** Calls back again and again, until what it returns is called; the process does not stay alive for it. */
  readonly every: (ms: number, call: () => void) => () => void;
}

export interface ListenerOptions {
  host: string;
  /** 0: any that is free. */
  port: number;
  /** How often a supervisor gives a sign of life, ms; 0: never, and no silence is judged. Default 1000. */
  heartbeatMs?: number;
  /** How long one may be silent, ms. Default 3000. */
  silenceMs?: number;
  /** How long the handshake may take, ms. Default 5000. */
  handshakeMs?: number;
  /** Connections that have proved nothing, at most. Default 1024. */
  pending?: number;
  /** Told of strangers, of each kind at most once a second. */
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
/** A pool's tasks start all at once. The kernel may hold fewer: net.core.somaxconn. */
const backlog = 1_024;
const keepAliveMs = 1_000;
/** What of a node's sandboxes is given up with the first that falls silent: those who have missed a sign of life, in heartbeats. */
const missedHeartbeats = 1.5;

type Trouble = 'service' | 'secret' | 'downgrade' | 'busy' | 'strange' | 'late' | 'crowd' | 'receiver' | 'server';
const troubleOf = { unknownService: 'service', wrongSecret: 'secret', downgraded: 'downgrade', busy: 'busy' } as const;

/** Where the sandboxes of a swarm's tasks dial in. Strangers prove themselves or go; the rest are watched for their silence. */
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
    // What a task sends before its end, and its end, are heard apart: hence half-open.
    const server = { allowHalfOpen: true, noDelay: true, keepAlive: true, keepAliveInitialDelay: keepAliveMs };
    this.#server = createServer(server, (socket) => this.#accept(socket));
  }

  /** Listens; resolves with the port, at every call. @throws server.address */
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

  /** Admits the tasks of a service, until the function that it returns is called. The last to ask for a service has it. */
  admit(service: string, receiver: SandboxReceiver): () => void {
    this.#receivers.set(service, receiver);
    return () => {
      if (this.#receivers.get(service) === receiver) this.#receivers.delete(service);
    };
  }

  /** For metrics: connections that have proved nothing yet, sandboxes, and all who were turned away. */
  get counts(): { pending: number; connected: number; refused: number } {
    return { pending: this.#strangers.size, connected: this.#connected.size, refused: this.#refused };
  }

  /** Listens no longer and drops all connections; resolves when they are closed. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    await this.#listening?.catch(() => undefined); // whoever waits for it is told
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
      socket.on('error', () => undefined); // it has gone already
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

  /** Where we ourselves were held up, what was said meanwhile has not been read yet: nobody is judged by that time. */
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

/** A stranger's word for something, fit for a log. */
function shown(text: string): string {
  return `"${text.slice(0, 64).replace(/[^ -~]/g, '?')}"`;
}
