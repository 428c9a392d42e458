import type { AddressInfo } from 'node:net';
import { isIP } from 'node:net';
import { hostname } from 'node:os';
import { isDeepStrictEqual } from 'node:util';
import { budgetOf, serverMemory } from '../base/server-memory.ts';
import { parseListen } from '../model/endpoint.ts';
import { KatafleetError, messageOf } from '../model/errors.ts';
import { parseHostName } from '../model/host-name.ts';
import { canonicalImage } from '../model/image-name.ts';
import { sandboxLimits } from '../model/profile.ts';
import type { Config } from '../config/schema.ts';
import type { CordonAction } from '../fleet/fleet.ts';
import { splitMachine } from '../fleet/node/machines.ts';
import { changesInWords } from '../fleet/changes.ts';
import type { FleetPool } from '../fleet/pools/share.ts';
import { upkeepJobs } from '../fleet/upkeep/jobs.ts';
import { Maintenance, type MaintenanceJob, type MaintenanceMemory } from '../fleet/upkeep/maintenance.ts';
import { buildApp } from '../http/app.ts';
import type { AppServices, GivenProfile } from '../http/services.ts';
import { Katafleet } from './library.ts';
import { localNode } from './local-node.ts';
import { reloaded } from './reload.ts';
import { Git } from '../katas/git.ts';
import { serveClones } from '../katas/serve.ts';
import { Katas } from '../katas/store.ts';
import { optionsOf } from './options.ts';
import { OutputBudget } from '../runs/room/output-budget.ts';
import type { RunService } from '../runs/service.ts';
import type { RunThrough } from '../runs/service-options.ts';
import type { TestRunOptions } from '../katas/avatar-test.ts';
import { unplaced } from '../model/placing.ts';
import type { KatafleetStore } from '../model/run-store.ts';
import { Store } from '../store/store.ts';

export interface DaemonOptions {
  config: Config;
  /** HOST:PORT at which clients reach it, if it listens elsewhere: a container's published port. */
  published?: string | undefined;
  /** Its own names, in addition to those of the configuration. */
  names?: readonly string[];
  /** Called with a line for each thing that happens. */
  log: (line: string) => void;
}

/** Idle sandboxes of a pool on a node if the configuration does not say: images that were asked for lately stay warm. */
const unasked = { min: 0, max: 8 };

/** katafleet as a service: journal, fleet, runs, maintenance, API. */
export class Daemon {
  readonly #store: KatafleetStore;
  readonly #katafleet: Katafleet;
  readonly #runs: RunService;
  readonly #maintenance: Maintenance;
  readonly #app: ReturnType<typeof buildApp>;
  #config: Config;
  readonly #log: (line: string) => void;
  readonly #katas: Katas;
  #stopping = false;

  /** Opens the journal and connects to nothing yet. @throws journal.*, endpoint.invalid, config.invalid */
  static async open(options: DaemonOptions): Promise<Daemon> {
    const { journal } = options.config;
    const { file, keepBytes, durability } = journal;
    const store = await Store.open(file, { keepBytes, durability, onTrouble: options.log });
    try {
      return new Daemon(options, store);
    } catch (error) {
      await store.close();
      throw error;
    }
  }

  private constructor({ config, published, names = [], log }: DaemonOptions, store: KatafleetStore) {
    this.#config = config;
    this.#log = log;
    this.#store = store;
    const memory = budgetOf(serverMemory(), { requests: config.queue.bytes, bodyLimit: config.server.bodyLimit });
    const onEvent = (node: string, kind: string, detail: string) => {
      log(`${node}: ${kind}${detail === '' ? '' : ` (${detail})`}`);
      if (!this.#stopping) void bestEffort(store.event(node, kind, detail, Date.now()), log);
    };
    const { identity, epoch } = store;
    this.#katafleet = new Katafleet({
      ...optionsOf(config),
      pool: unasked,
      patient: true,
      journal: { identity, epoch },
      onTrouble: log,
      onEvent,
      onDecision: (node, decision) => {
        const setting = { cordoned: decision !== undefined, draining: decision?.drain ?? false, machine: decision?.machine };
        void bestEffort(store.setNodeSetting(node, setting), log);
      },
    });
    const { fleet } = this.#katafleet;
    const output = new OutputBudget(memory.output, memory.freeOutput);
    this.#runs = this.#katafleet.serviceOver(
      store,
      { requests: memory.requests, onTrouble: log, windows: output },
      { results: memory.results, output },
    );
    const remembered: MaintenanceMemory = {
      maintenance: (job) => store.maintenance(job),
      // On a full disk retention must still run: it makes room.
      maintenanceStarted: (...of) => bestEffort(store.maintenanceStarted(...of), log),
      maintenanceEnded: (...of) => bestEffort(store.maintenanceEnded(...of), log),
    };
    this.#maintenance = new Maintenance(this.#jobs(), remembered, log);
    const { folder } = config.katas;
    this.#katas = new Katas({ folder, run: (request, options) => this.#runs.run(request, throughOf(options)), trouble: log });
    const reached = listenAddress(published ?? config.server.listen).host;
    const loopbackOnly = isLoopback(reached);
    // The host's name is known in its own network only, so no web page can have it.
    const own = [reached, ...(loopbackOnly ? [] : [hostname()])].flatMap((name) => parseHostName(name) ?? []);
    this.#app = buildApp(
      {
        fleet,
        runs: this.#runs,
        maintenance: this.#maintenance,
        profile: (given) => this.#profile(given),
        queueMs: config.queue.wait,
        idleMemory: config.defaults.idleMemory,
        cordon: (node, how) => this.#cordon(node, how),
        journal: store,
        takes: () => store.takes,
        stopping: () => this.#stopping,
        clones: serveClones({ git: new Git(4), repository: (kata, avatar) => this.#katas.repository(kata, avatar), trouble: log }),
      },
      { bodyLimit: config.server.bodyLimit, memory, hosts: { loopbackOnly, names: [...own, ...config.server.names, ...names] } },
    );
  }

  /** Begins to serve and returns the URL. Nodes are probed at the same time. @throws server.address */
  async start(): Promise<string> {
    const { fleet } = this.#katafleet;
    for (const { name, cordoned, draining, machine } of await this.#store.nodeSettings()) {
      if (cordoned && fleet.has(name)) fleet.cordon(name, draining, machine);
    }
    fleet.wantOnly(this.#pools());
    void this.#katas.recover().then(
      (tests) => {
        if (tests > 0) this.#log(`the commits of ${tests} tests of before are made`);
      },
      (error: unknown) => this.#log(`katas: ${messageOf(error)}`),
    );
    void fleet.open();
    this.#katafleet.rsync?.ready().catch((error: unknown) => this.#log(`rsync: ${messageOf(error)}`)); // each run that needs it fails with the same error
    void this.#maintenance.start(this.#config.schedules.jitter).catch((error: unknown) => this.#log(`maintenance: ${messageOf(error)}`));
    const { host, port } = listenAddress(this.#config.server.listen);
    try {
      await this.#app.listen({ host, port });
    } catch (cause) {
      throw new KatafleetError('server.address', `can't listen on ${host}:${port}: ${messageOf(cause)}`, {
        cause,
        hint: 'another katafleet may be there; server.listen in the configuration, or --listen, names another address',
      });
    }
    // The API answers for runs that are not taken up yet.
    void this.#runs.recover().then((runs) => {
      if (runs > 0) this.#log(`${runs} accepted runs of before are taken up again`);
    });
    const address = this.#app.server.address() as AddressInfo;
    return `http://${address.family === 'IPv6' ? `[${address.address}]` : address.address}:${address.port}`;
  }

  /** The configured pools. */
  #pools(): FleetPool[] {
    const { pools, profiles } = this.#config;
    return pools.flatMap(({ image, profile, idle }) => {
      const found = profiles[profile];
      return found ? [{ image: canonicalImage(image), limits: sandboxLimits(found), idle }] : [];
    });
  }

  /**
   * Takes over the nodes, pools and profiles of another configuration. What runs goes on. Logs what changes, and what will change at
   * the next start only.
   */
  reload(given: Config): void {
    if (this.#stopping) return;
    const before = this.#config;
    const { config, later } = reloaded(before, given);
    this.#config = config;
    const { nodes = [localNode({}, given.defaults)] } = config;
    const changes = this.#katafleet.reconfigure(nodes);
    this.#katafleet.fleet.wantOnly(this.#pools());
    for (const line of changesInWords(changes)) this.#log(line);
    for (const change of changes) {
      // Another node of that name is not cordoned because this one was.
      if (change.kind === 'remove')
        void bestEffort(this.#store.setNodeSetting(change.name, { cordoned: false, draining: false }), this.#log);
    }
    for (const section of ['pools', 'profiles'] as const) {
      if (!isDeepStrictEqual(before[section], config[section])) this.#log(`${section}: as the configuration says now`);
    }
    if (later.length > 0) this.#log(`takes effect at the next start: ${later.join(', ')}`);
    this.#log('the configuration was read again');
  }

  #profile(given: GivenProfile): ReturnType<AppServices['profile']> {
    const { profiles } = this.#config;
    const name = typeof given === 'string' ? given : 'default';
    const base = Object.hasOwn(profiles, name) ? profiles[name] : undefined;
    if (typeof given === 'string' && !base) {
      throw new KatafleetError('limits.invalid', `no profile "${given}"; there are: ${Object.keys(profiles).join(', ')}`);
    }
    return { ...base, ...(typeof given === 'object' ? given : {}) };
  }

  /** Cordons, drains or uncordons. The journal remembers it for a node, the swarm for one of its machines. */
  async #cordon(node: string, how: CordonAction): Promise<void> {
    const { fleet } = this.#katafleet;
    if (splitMachine(node).machine !== undefined) {
      await fleet.cordonMachine(node, how);
      return;
    }
    const machine = fleet.node(node).fingerprint?.engineId; // throws node.unknown
    // Written down first: if that fails, the node stays as it is.
    try {
      await this.#store.setNodeSetting(node, { cordoned: how !== 'uncordon', draining: how === 'drain', machine });
    } catch (cause) {
      throw new KatafleetError('journal.full', `${node} stays as it is: the journal can't be written (${messageOf(cause)})`, { cause });
    }
    if (how === 'uncordon') fleet.uncordon(node);
    else fleet.cordon(node, how === 'drain');
  }

  #jobs(): MaintenanceJob[] {
    const { schedules, journal: kept, images } = this.#config;
    const pools = () => this.#config.pools; // they change with the configuration
    return upkeepJobs(this.#katafleet.fleet, this.#store, {
      schedules,
      keepResultsMs: kept.keepResults,
      keepEventsMs: kept.keepEvents,
      pruneAfterMs: images.pruneAfter,
      keepImages: () => [...images.keep, ...pools().map(({ image }) => image)],
    });
  }

  /** Stops: refuses new runs, gives those that run a grace to end, leaves the rest in the journal, and removes the sandboxes. */
  async stop(): Promise<void> {
    if (this.#stopping) return;
    this.#stopping = true;
    this.#runs.stop();
    await this.#maintenance.stop();
    await this.#runs.settle(this.#config.server.grace);
    for (const { sandboxes } of this.#katafleet.fleet.all) sandboxes.breakOff(); // the next katafleet runs them again
    this.#runs.release();
    await this.#app.close();
    await this.#katafleet.close();
    await this.#katas.close();
    await this.#runs.allEnded();
    await this.#store.close();
  }
}

/** A test of a kata is a run like any other, and the same test is the same run. */
function throughOf({ of: { kata, avatar, test }, ...options }: TestRunOptions): RunThrough {
  return { ...options, placing: { ...unplaced, tenant: 'katas' }, key: `${kata}/${avatar}/${test}` };
}

/** Writes to the journal what katafleet can do without: a failure is logged only. */
async function bestEffort(write: Promise<void>, log: (line: string) => void): Promise<void> {
  try {
    await write;
  } catch (error) {
    log(`not written down: ${messageOf(error)}`);
  }
}

/** @throws config.invalid */
function listenAddress(listen: string): { host: string; port: number } {
  const address = parseListen(listen);
  if (address) return address;
  throw new KatafleetError('config.invalid', `server.listen: expected HOST:PORT such as 127.0.0.1:7420, got ${JSON.stringify(listen)}`);
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
}
