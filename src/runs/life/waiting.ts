import type { Clock, Timer } from '../../base/clock.ts';
import type { Fleet } from '../../fleet/fleet.ts';
import type { QueueEntry } from '../../scheduler/queue/entry.ts';
import { FairQueue, type QueueLimits } from '../../scheduler/queue/queue.ts';
import { type Placed, Scheduler } from '../../scheduler/scheduler.ts';
import type { Policy } from '../../scheduler/place/placement.ts';
import type { Wanted } from '../../scheduler/place/placement.ts';
import { wantedOf } from '../job.ts';
import { queueFull } from '../rejection.ts';
import type { Sessions } from '../sessions/sessions.ts';
import type { LiveRun } from './live-run.ts';

/** How often the queue is looked at while runs wait, ms: time alone can make a run placeable. */
const tickMs = 100;

export interface WaitingOptions {
  fleet: Fleet;
  sessions: Sessions;
  limits: QueueLimits;
  policy: Policy;
  idleMemory: number;
  random: () => number;
  clock: Clock;
  /** Whether attempts may begin now. */
  takes: () => boolean;
  /** Called for a run that left the queue: memory is booked for it on a node. */
  onPlace: (run: LiveRun, decision: Placed) => void;
  /** Called for a run that left the queue because no node can ever take it. */
  onImpossible: (run: LiveRun) => void;
  /** Called before runs are placed. */
  onLook: () => void;
}

/** The runs that wait for a place, and the loop that places them. */
export class Waiting {
  readonly #options: WaitingOptions;
  readonly #scheduler: Scheduler<LiveRun>;
  readonly #wanted: (run: LiveRun) => Wanted;
  #pumping = false;
  #again = false;
  #stopped = false;
  #tick: Timer | undefined;

  constructor(options: WaitingOptions) {
    this.#options = options;
    const { fleet, limits, idleMemory, policy, random } = options;
    this.#wanted = ({ job, life }) => wantedOf(job, idleMemory, life.phase === 'ended' ? undefined : life.tally.avoid);
    this.#scheduler = new Scheduler(new FairQueue<LiveRun>(limits), fleet.cluster, this.#wanted, { policy, random });
  }

  get scheduler(): Scheduler<LiveRun> {
    return this.#scheduler;
  }

  get size(): number {
    return this.#scheduler.queue.size;
  }

  /** What a run wants of a node now. */
  wanted(run: LiveRun): Wanted {
    return this.#wanted(run);
  }

  /** Reserves a run's room in the queue. @throws queue.full */
  reserve(run: LiveRun): void {
    const answer = this.#scheduler.queue.reserve(run.entry);
    if (!answer.admitted) throw queueFull(run.job, answer);
  }

  giveBack(run: LiveRun): void {
    this.#scheduler.queue.giveBack(run.entry);
  }

  /** Puts a run into the queue. `again`: it has been there; `pause`: until when it goes to none of the nodes that it avoids. */
  enter(run: LiveRun, { deadline, again, pause }: { deadline: number; again: boolean; pause?: number }): void {
    const { queue } = this.#scheduler;
    const entry: QueueEntry<LiveRun> = { ...run.entry, deadline, ...(pause === undefined ? {} : { pause }) };
    if (again) queue.requeue(entry);
    else if (run.recovered) queue.restore(entry);
    else queue.enter(entry);
    this.#watch();
    this.pump();
  }

  /** Takes a run out. */
  leave(id: string): void {
    this.#scheduler.queue.remove(id);
    this.#scheduler.forget(id);
  }

  /** Takes all runs out and returns them. */
  leaveAll(): LiveRun[] {
    return this.#scheduler.queue.expired(Infinity).map(({ value }) => value);
  }

  #watch(): void {
    if (this.#stopped) return;
    this.#tick ??= this.#options.clock.after(tickMs, () => {
      this.#tick = undefined;
      this.pump();
      if (this.size > 0) this.#watch();
    });
  }

  /** Places all runs that can be placed. A re-entrant call does not recurse: it makes the loop run once more. */
  pump(): void {
    this.#again = true;
    if (this.#pumping) return;
    this.#pumping = true;
    const { takes, clock, onLook, onPlace, onImpossible } = this.#options;
    try {
      while (this.#again && !this.#stopped && takes()) {
        this.#again = false;
        if (this.size === 0) break;
        onLook();
        for (let next = this.#scheduler.next(clock.now()); next; next = this.#scheduler.next(clock.now())) {
          const { entry, decision, level } = next;
          entry.value.level = level;
          if (decision.kind === 'place') onPlace(entry.value, decision);
          else onImpossible(entry.value);
        }
      }
    } finally {
      this.#pumping = false;
    }
    this.#makeRoom();
    if (this.size > 0) this.#options.fleet.pullAhead(this.#scheduler.waiting());
  }

  /** Asks nodes that are held for runs to let idle sandboxes go, and sessions to give up kept ones, where that makes enough room. */
  #makeRoom(): void {
    const { clock, fleet, sessions } = this.#options;
    for (const { node, bytes, pool } of this.#scheduler.giveWay(clock.now())) {
      const given = fleet.node(node).sandboxes.giveWay(bytes, pool);
      if (given < bytes) sessions.giveWay(node, bytes - given);
    }
  }

  /** Places no more runs. */
  stop(): void {
    this.#stopped = true;
    this.#tick?.cancel();
  }
}
