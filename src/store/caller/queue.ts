import { KatafleetError, messageOf } from '../../model/errors.ts';
import type { Answers, Command, Opened, Read, Said, WorkerOptions, Write } from '../commands.ts';
import { receivedError } from '../sent-error.ts';
import { fullDisk, silentWorker } from './errors.ts';
import type { Link, OpenLink } from './link.ts';

/** How often it is looked whether the worker answers (ms), and how often in a row it may be found silent. */
const [usualLookMs, mostSilent] = [1_000, 5];
/** How soon refused writes, and a worker that can't be started, are tried again: at first and at most (ms). */
const [againMs, againMostMs] = [100, 1_000];

/**
 * How long a command waits. `owed`: for ever, it is written again until it is taken. `once`: the caller is told at once if the disk takes
 * nothing, and after 5 s if the worker does not answer; a read can't be refused. `job`: until it is done.
 */
type Kind = 'owed' | 'once' | 'job';

interface Pending {
  command: Command;
  kind: Kind;
  write: boolean;
  sent: boolean;
  /** How often it was looked at while it waited. */
  looks: number;
  resolve: (answer: unknown) => void;
  reject: (error: Error) => void;
}

export interface QueueOptions extends WorkerOptions {
  open: OpenLink;
  onTrouble: (message: string) => void;
  /** Called when {@link CommandQueue.takes} may have become true. */
  onTakes: () => void;
  /** How often it is looked whether the worker answers (ms); 1 s if absent. */
  lookMs?: number;
}

/**
 * Sends commands to the worker, and keeps each until it is answered. A worker that dies or hangs is started again and gets the unanswered
 * commands again, in their order. Writes that a full disk refuses are owed, and sent again, in their order.
 */
export class CommandQueue {
  readonly #options: QueueOptions;
  readonly #pending = new Map<number, Pending>();
  /** Numbers of the commands that are sent at the end of this turn of the event loop. */
  #outbox: number[] = [];
  /** Numbers of the owed writes that wait until the disk takes them. */
  #held: number[] = [];
  /** Writes that were sent and are not answered. */
  #writing = 0;
  #link: Link | undefined;
  #number = 0;
  #generation = 0;
  /** Why the disk takes no writes. */
  #refused: string | undefined;
  /** How often in a row the worker was found silent. */
  #silent = 0;
  #pause = againMs;
  #flushing: NodeJS.Immediate | undefined;
  #looking: NodeJS.Timeout | undefined;
  #again: NodeJS.Timeout | undefined;
  #told = false;
  #closing = false;
  #idle: (() => void) | undefined;
  #opened: Opened | undefined;

  private constructor(options: QueueOptions) {
    this.#options = options;
  }

  /** @throws journal.locked, journal.broken, journal.newer */
  static async open(options: QueueOptions): Promise<{ queue: CommandQueue; opened: Opened }> {
    const queue = new CommandQueue(options);
    return { queue, opened: await queue.#start() };
  }

  async #start(): Promise<Opened> {
    const { file, keepBytes, power } = this.#options;
    const again = this.#opened?.epoch;
    const link = await this.#options.open(
      { file, keepBytes, power, ...(again === undefined ? {} : { again }) },
      { said: (said) => this.#heard(said), gone: (why) => this.#gone(why) },
    );
    if (this.#closing) await link.close();
    else this.#link = link;
    link.hold(this.#pending.size > 0);
    return (this.#opened ??= link.opened);
  }

  /** Whether the worker answers and the disk takes writes, as far as is known. */
  get takes(): boolean {
    return this.#link !== undefined && this.#refused === undefined && !this.#closing;
  }

  /** @throws journal.full, journal.unavailable while nothing new is taken */
  check(): void {
    if (this.#refused !== undefined) throw fullDisk(this.#refused);
    if (!this.takes) throw silentWorker();
  }

  write<D extends Write['do']>(command: Extract<Write, { do: D }>, kind: 'owed' | 'once'): Promise<Answers[D]> {
    return this.#add(command, kind, true) as Promise<Answers[D]>;
  }

  read<D extends Read['do']>(command: Extract<Read, { do: D }>, kind: 'once' | 'job' = 'once'): Promise<Answers[D]> {
    return this.#add(command, kind, false) as Promise<Answers[D]>;
  }

  #add(command: Command, kind: Kind, write: boolean): Promise<unknown> {
    if (this.#closing) return Promise.reject(closed());
    if (write && kind === 'once' && this.#refused !== undefined) return Promise.reject(fullDisk(this.#refused));
    return new Promise((resolve, reject) => {
      const number = this.#number++;
      this.#pending.set(number, { command, kind, write, sent: false, looks: 0, resolve, reject });
      if (this.#pending.size === 1) this.#busy();
      if (write && this.#refused !== undefined) this.#held.push(number);
      else this.#outbox.push(number);
      this.#flushing ??= setImmediate(() => this.#flush());
    });
  }

  #busy(): void {
    this.#link?.hold(true);
    this.#looking ??= setInterval(() => this.#look(), this.#options.lookMs ?? usualLookMs);
  }

  #flush(): void {
    this.#flushing = undefined;
    if (!this.#link || this.#outbox.length === 0) return;
    const commands: [number, Command][] = [];
    for (const number of this.#outbox) {
      const pending = this.#pending.get(number);
      if (!pending) continue;
      pending.sent = true;
      if (pending.write) this.#writing += 1;
      commands.push([number, pending.command]);
    }
    this.#outbox = [];
    this.#link.post({ generation: this.#generation, commands });
  }

  #heard({ answers = [], failed = [], refused, trouble }: Said): void {
    this.#silent = 0;
    if (trouble !== undefined) this.#options.onTrouble(trouble);
    for (const [number, answer] of answers) this.#settle(number)?.resolve(answer);
    for (const [number, error] of failed) this.#settle(number)?.reject(receivedError(error));
    if (refused) this.#refuse(refused);
    if (this.#refused !== undefined && this.#again === undefined && this.#writing === 0) this.#taken();
  }

  /** Takes a command out that has its answer. */
  #settle(number: number): Pending | undefined {
    const pending = this.#pending.get(number);
    if (!pending) return undefined; // it was given up
    this.#pending.delete(number);
    if (pending.write && pending.sent) this.#writing -= 1;
    if (this.#pending.size === 0) this.#rest();
    return pending;
  }

  #rest(): void {
    this.#link?.hold(false);
    clearInterval(this.#looking);
    this.#looking = undefined;
    this.#silent = 0;
    this.#idle?.();
  }

  #refuse({ numbers, why }: { numbers: number[]; why: string }): void {
    if (!this.#told) this.#options.onTrouble(`the journal can't be written, and is tried again: ${why}`);
    this.#told = true;
    this.#refused = why;
    for (const number of numbers) {
      const pending = this.#pending.get(number);
      if (!pending) continue;
      if (pending.kind === 'owed') {
        pending.sent = false;
        this.#writing -= 1;
        this.#held.push(number);
      } else this.#settle(number)?.reject(fullDisk(why));
    }
    // What was not sent yet stands behind these.
    const waiting = this.#outbox.filter((number) => this.#pending.get(number)?.write);
    this.#outbox = this.#outbox.filter((number) => !this.#pending.get(number)?.write);
    for (const number of waiting) {
      if (this.#pending.get(number)?.kind === 'owed') this.#held.push(number);
      else this.#settle(number)?.reject(fullDisk(why));
    }
    this.#later(() => this.#sendHeld());
    this.#idle?.();
  }

  #later(what: () => void): void {
    if (this.#again !== undefined) return;
    this.#again = setTimeout(() => {
      this.#again = undefined;
      what();
    }, this.#pause).unref();
    this.#pause = Math.min(againMostMs, 2 * this.#pause);
  }

  #sendHeld(): void {
    if (!this.#link) return; // the next one gets them
    if (this.#writing > 0) {
      this.#later(() => this.#sendHeld()); // the worker refuses these too
      return;
    }
    this.#generation += 1;
    this.#outbox.push(...this.#held.sort((a, b) => a - b));
    this.#held = [];
    if (this.#outbox.length === 0) this.#outbox.push(this.#probe());
    this.#flush();
  }

  /** Adds a write that changes nothing: it tells whether the disk takes writes. */
  #probe(): number {
    const number = this.#number++;
    const nothing = () => undefined;
    this.#pending.set(number, {
      command: { do: 'probe' },
      kind: 'owed',
      write: true,
      sent: false,
      looks: 0,
      resolve: nothing,
      reject: nothing,
    });
    if (this.#pending.size === 1) this.#busy();
    return number;
  }

  /** The disk has taken what it was asked to. */
  #taken(): void {
    if (this.#held.length > 0) {
      this.#sendHeld();
      return;
    }
    this.#refused = undefined;
    this.#pause = againMs;
    if (this.#told) this.#options.onTrouble('the journal can be written again');
    this.#told = false;
    if (this.takes) this.#options.onTakes();
  }

  /** Looks whether the worker answers. Ticks are counted, not time: a stall of this process is not taken for one of the worker's. */
  #look(): void {
    if (this.#link && this.#waits()) {
      this.#silent += 1;
      if (this.#silent > mostSilent) {
        this.#options.onTrouble(`the journal's worker has not answered for ${mostSilent} s, and is started again`);
        this.#link.kill();
        this.#link = undefined;
      }
    } else if (this.#link) void this.read({ do: 'ping' }).catch(() => undefined);
    for (const [number, pending] of this.#pending) {
      pending.looks += 1;
      if (pending.kind === 'once' && pending.looks > mostSilent) this.#settle(number)?.reject(silentWorker());
    }
  }

  /** Whether the worker owes an answer that takes no long work. */
  #waits(): boolean {
    for (const { sent, kind } of this.#pending.values()) if (sent && kind !== 'job') return true;
    return false;
  }

  /** The worker has ended. Another takes its place, with all that is not answered. */
  #gone(why: string): void {
    this.#link = undefined;
    if (this.#closing) {
      this.#idle?.();
      return;
    }
    this.#options.onTrouble(`the journal's worker ended (${why}), and is started again`);
    this.#writing = 0;
    for (const [number, pending] of this.#pending) {
      if (pending.kind === 'job') this.#settle(number)?.reject(silentWorker());
      pending.sent = false;
    }
    this.#held = [];
    this.#outbox = [...this.#pending.keys()];
    this.#restart();
  }

  #restart(): void {
    this.#start().then(
      () => {
        this.#silent = 0;
        this.#refused = undefined;
        this.#pause = againMs;
        this.#flush();
        if (this.takes) this.#options.onTakes();
      },
      (error: unknown) => {
        if (!this.#told) this.#options.onTrouble(`the journal can't be opened, and is tried again: ${messageOf(error)}`);
        this.#told = true;
        if (this.#closing) this.#idle?.();
        else this.#later(() => this.#restart());
      },
    );
  }

  /** Ends it as the death of the process would: what was not sent is not written, and nobody is told. */
  async abandon(): Promise<void> {
    this.#closing = true;
    this.#pending.clear();
    this.#outbox = [];
    this.#held = [];
    this.#stopTimers();
    await this.#link?.close();
    this.#link = undefined;
  }

  #stopTimers(): void {
    for (const timer of [this.#again, this.#looking]) clearTimeout(timer);
    clearImmediate(this.#flushing);
  }

  /** Waits until all is answered, and tries owed writes once more. What the disk does not take then is given up. */
  async close(): Promise<void> {
    if (this.#closing) return;
    if (this.#again !== undefined && this.#link) {
      clearTimeout(this.#again);
      this.#again = undefined;
      this.#sendHeld();
    }
    this.#flush();
    this.#closing = true;
    for (const [number, { kind }] of this.#pending) if (kind === 'job') this.#settle(number)?.reject(closed());
    // A refusal or a death ends the wait.
    if (this.#link && this.#pending.size > 0) await new Promise<void>((idle) => (this.#idle = idle));
    this.#stopTimers();
    const owed = new Set(Array.from(this.#pending.values(), ({ kind, command }) => (kind === 'owed' && 'id' in command ? command.id : '')));
    owed.delete('');
    if (owed.size > 0)
      this.#options.onTrouble(`the ends of ${owed.size} runs could not be written; these runs run again after the next start`);
    for (const { reject } of this.#pending.values()) reject(closed());
    this.#pending.clear();
    await this.#link?.close();
    this.#link = undefined;
  }
}

const closed = () => new KatafleetError('journal.unavailable', 'the journal is closed');
