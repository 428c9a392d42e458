import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { atExit } from '../../support/at-exit.ts';
import { command } from '../../support/command.ts';
import { freePort } from '../../support/free-port.ts';
import { SmallDisk } from '../../support/small-disk.ts';
import { Testbed } from '../../support/testbed.ts';
import { Copies } from './copies.ts';
import { Clock, type Host } from './faults.ts';
import { EngineProxy } from './proxy.ts';

const MiB = 1024 ** 2;
const beside = (name: string) => fileURLToPath(new URL(name, import.meta.url));

/** What is broken in katafleet on purpose, to see that a storm finds it: a module that is loaded before katafleet. */
export const injections = { 'drop-commit': beside('drop-commit.mjs') } as const;
export type Injection = keyof typeof injections;

export interface GroundOptions {
  /** Hosts with an engine each. */
  hosts: number;
  /** Hosts of one swarm, all of them managers; 0 for no swarm. */
  swarm: number;
  diskBytes: number;
  /** Images that only the first host has. */
  copies: number;
  inject?: Injection | undefined;
}

/** What a storm goes over: hosts, proxies before some of their engines, a small disk for the journal, a clock. Removed when disposed. */
export class Ground implements AsyncDisposable {
  readonly hosts: Host[] = [];
  copies: Copies | undefined;
  readonly disk: SmallDisk;
  readonly clock: Clock;
  /** The words that start katafleet. */
  readonly words: readonly string[];
  readonly #folder: string;
  readonly #beds: Testbed[] = [];
  readonly #forget: () => void;

  private constructor(folder: string, { diskBytes, inject }: GroundOptions) {
    this.#folder = folder;
    this.disk = new SmallDisk(diskBytes);
    this.#forget = atExit(() => {
      this.disk[Symbol.dispose]();
      rmSync(folder, { recursive: true, force: true });
    });
    this.clock = new Clock(join(folder, 'clock'));
    process.env['KATAFLEET_STORM_CLOCK'] = this.clock.file;
    process.env['KATAFLEET_STORM_DROPPED'] = join(folder, 'dropped');
    const modules = [beside('clock.mjs'), ...(inject ? [injections[inject]] : [])];
    // Worker threads that are given arguments of their own still heed this variable.
    this.words = ['env', `NODE_OPTIONS=${modules.map((file) => `--import=${pathToFileURL(file).href}`).join(' ')}`, ...command];
  }

  static async make(options: GroundOptions): Promise<Ground> {
    const ground = new Ground(await mkdtemp(join(tmpdir(), 'katafleet-storm-')), options);
    try {
      const engines = ground.#bed(await Testbed.up({ hosts: options.hosts }));
      for (const [index, host] of engines.hosts.entries()) {
        // Every second host has a proxy: the others are reached as they are in earnest.
        const proxy = index % 2 === 1 ? await EngineProxy.to(engines.address(host), 2375) : undefined;
        ground.hosts.push({ bed: engines, host, node: host, isManager: false, group: groupOf(engines, host), ...(proxy ? { proxy } : {}) });
      }
      const [holder, other] = engines.hosts;
      if (holder !== undefined && other !== undefined) {
        ground.copies = new Copies(engines, holder);
        await ground.copies.make(options.copies);
      }
      if (options.swarm > 0) {
        const bed = ground.#bed(await Testbed.up({ hosts: options.swarm, managers: options.swarm }));
        for (const host of bed.hosts) ground.hosts.push({ bed, host, node: 'swarm', isManager: true, group: groupOf(bed, host) });
      }
      return ground;
    } catch (error) {
      await ground[Symbol.asyncDispose]();
      throw error;
    }
  }

  #bed(bed: Testbed): Testbed {
    this.#beds.push(bed);
    return bed;
  }

  /** Names of the nodes. */
  get nodes(): string[] {
    return Array.from(new Set(this.hosts.map(({ node }) => node)));
  }

  /** The configuration of a katafleet with these hosts. Looks are frequent, so that a fault is noticed soon. */
  async config(): Promise<object> {
    const single = this.hosts.filter(({ isManager }) => !isManager);
    const [first, ...others] = this.hosts.filter(({ isManager }) => isManager);
    const endpointOf = ({ bed, host }: Host) => bed.endpoint(host);
    return {
      nodes: [
        ...single.map((host) => ({ name: host.node, endpoint: host.proxy?.endpoint ?? endpointOf(host), labels: { place: host.node } })),
        ...(first ? [{ name: 'swarm', endpoint: endpointOf(first), managers: others.map(endpointOf), labels: { place: 'swarm' } }] : []),
      ],
      profiles: { small: { memory: '64m' } },
      pools: [{ image: 'build-essential', profile: 'small', idle: { min: 1, max: 3 } }],
      health: { interval: '500ms', timeout: '1500ms', failures: 3, successes: 1 },
      reaping: { grace: '2s' },
      retries: { attempts: 100 },
      queue: { wait: '1h' },
      journal: { file: join(this.disk.folder, 'journal.db'), keepBytes: '1g' },
      ...(first
        ? {
            swarm: {
              listen: `${first.bed.server}:${await freePort()}`,
              key: join(this.#folder, 'swarm.key'),
              linger: '5s',
              workers: [first, ...others].map((host) => ({ endpoint: endpointOf(host) })),
            },
          }
        : {}),
    };
  }

  /** What is still there after it was disposed: network namespaces, control groups, mounts. */
  remains(): string[] {
    const namespaces = execFileSync('ip', ['netns', 'list'], { encoding: 'utf8' }).split('\n');
    const groups = ['freezer', 'memory', ''].map((controller) => `/sys/fs/cgroup/${controller}`);
    const mounts = readFileSync('/proc/mounts', 'utf8').split('\n');
    return [
      ...Array.from(new Set(this.hosts.map(({ group }) => /kf[0-9a-f]{5}/.exec(group)?.[0] ?? ''))).flatMap((tag) => [
        ...namespaces.filter((name) => name.startsWith(tag)).map((name) => `network namespace ${name}`),
        ...groups.filter((folder) => existsSync(join(folder, tag))).map((folder) => `control group ${folder}/${tag}`),
      ]),
      ...mounts.filter((line) => line.includes(this.disk.folder)).map((line) => `mount ${line}`),
    ];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { proxy } of this.hosts) await proxy?.[Symbol.asyncDispose]();
    for (const bed of this.#beds) await bed.down();
    this.disk[Symbol.dispose]();
    this.#forget();
    await rm(this.#folder, { recursive: true });
  }
}

/** The part of a path in /proc/PID/cgroup that all processes of a host have. */
function groupOf(bed: Testbed, host: string): string {
  const pid = readFileSync(bed.path(host, '/').replace(/\/disk\/$/, '/init.pid'), 'utf8').trim();
  const group = /:(\/\S*?)(\/init)?\n/.exec(readFileSync(`/proc/${pid}/cgroup`, 'utf8').replace(/^(?!.*(freezer|0::)).*\n/gm, ''))?.[1];
  if (group === undefined || group === '/') throw new Error(`${host} has no control group of its own`);
  return `${group}/`;
}

export const diskBytes = 256 * MiB;
