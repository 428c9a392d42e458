import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { cp, mkdtemp, rm } from 'node:fs/promises';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { atExit } from './at-exit.ts';
import { type Said, said } from './said.ts';

const script = fileURLToPath(new URL('../../scripts/testbed', import.meta.url));
const execute = promisify(execFile);
/** The longest that one command of scripts/testbed may take, ms; it has shorter bounds of its own. */
const longestMs = 240_000;

export interface TestbedOptions {
  /** They are called h1, h2, …. */
  hosts: number;
  /** What each host has, as `1g`; all of the machine's if absent. */
  memory?: string;
  /** The data root of an engine whose images the hosts get; those of the tests' private engine if absent. */
  seed?: string;
  /** So many of them are managers of one swarm, the first ones, and the rest its workers; no swarm if absent. */
  managers?: number;
  /** How often the swarm's nodes say that they live, as `5s`: the less, the sooner it gives one up; a second if absent. */
  heartbeat?: string;
  /** Further words for the hosts' dockerd. */
  dockerd?: string;
}

export type Verb = 'kill' | 'start' | 'freeze' | 'thaw' | 'cut' | 'heal' | 'kill-engine' | 'start-engine' | 'kill-sshd' | 'start-sshd';

/** The `docker` that behaves as 1.6.2 does. */
export const oldDocker = fileURLToPath(new URL('docker-1.6/docker', import.meta.url));

/** Hosts of scripts/testbed, in a folder and a network of their own, gone when it is disposed of or the process ends. */
export class Testbed implements AsyncDisposable {
  readonly hosts: readonly string[];
  readonly #folder: string;
  readonly #subnet: string;
  readonly #env: NodeJS.ProcessEnv;
  readonly #forget: () => void;
  #isUp = true;

  private constructor(folder: string, count: number) {
    this.#folder = folder;
    this.#subnet = freeSubnet();
    this.#env = { ...process.env, TESTBED: join(folder, 'bed'), TESTBED_SUBNET: this.#subnet };
    this.hosts = Array.from({ length: count }, (_, index) => `h${index + 1}`);
    this.#forget = atExit(() => {
      execFileSync(script, ['down'], { env: this.#env, stdio: 'inherit', timeout: longestMs });
      rmSync(folder, { recursive: true, force: true });
    });
  }

  static async up({ hosts, memory, seed = seedOfTests(), managers, heartbeat = '1s', dockerd }: TestbedOptions): Promise<Testbed> {
    const bed = new Testbed(await mkdtemp(join(tmpdir(), 'katafleet-testbed-')), hosts);
    if (dockerd !== undefined) bed.#env['TESTBED_DOCKERD_ARGS'] = dockerd;
    try {
      const swarm = managers === undefined ? [] : ['--swarm', String(managers), '--heartbeat', heartbeat];
      await bed.#run('up', String(hosts), '--seed', seed, ...(memory === undefined ? [] : ['--memory', memory]), ...swarm);
      return bed;
    } catch (error) {
      await bed.down();
      throw error;
    }
  }

  /** What katafleet reaches a host's engine by. */
  endpoint(host: string): string {
    return `tcp://${this.address(host)}:2375`;
  }

  /** What it is reached by over ssh: {@link sshConfig} knows it by that name. */
  sshEndpoint(host: string): string {
    return `ssh://${host}`;
  }

  /** The address that this machine has to the hosts. */
  get server(): string {
    return `${this.#subnet}.1`;
  }

  address(host: string): string {
    return `${this.#subnet}.${10 + Number(host.slice(1))}`;
  }

  /** OpenSSH's configuration, in which every host is known by its name, with a key that its test-runner takes. */
  get sshConfig(): string {
    return join(this.#folder, 'bed/ssh_config');
  }

  /** Where a file of a host's own (/etc, /home, /root, /tmp, /var, /usr/local) lies on this machine. */
  path(host: string, path: string): string {
    return join(this.#folder, 'bed', host, 'disk', path.replace(/^\/usr\/local\//, '/local/'));
  }

  /** Puts the docker of 1.6 first on a host's PATH. */
  async useOldDocker(host: string): Promise<void> {
    await cp(oldDocker, this.path(host, '/usr/local/bin/docker'));
  }

  /** A command on a host, as root; answers what it prints. */
  sh(host: string, ...words: string[]): Promise<string> {
    return this.#run('sh', host, ...words);
  }

  /** A command on a host, as root, that may fail. */
  on(host: string, words: readonly string[], input: string | Buffer = ''): Said {
    return said(script, ['sh', host, ...words], { input, env: this.#env });
  }

  /** Its engine's socket on this machine, which no cut cable concerns. */
  socket(host: string): string {
    return join(this.#folder, 'bed', host, 'run/docker.sock');
  }

  /** Docker's client on a host; answers what it prints. */
  docker(host: string, ...args: string[]): Promise<string> {
    return this.#run('docker', host, ...args);
  }

  /** What carries a label of katafleet's on a host, whatever its state. */
  async containers(host: string): Promise<string[]> {
    const ids = await this.docker(host, 'ps', '--all', '--quiet', '--filter', 'label=katafleet.role');
    return ids.split('\n').filter((id) => id !== '');
  }

  /** Breaks a host or mends it, see `scripts/testbed help`. */
  async do(verb: Verb, host: string): Promise<void> {
    await this.#run(verb, host);
  }

  /** A rate such as 10mbit, both ways, or off. */
  async slow(host: string, rate: string): Promise<void> {
    await this.#run('slow', host, rate);
  }

  /** Answers what it said: which engines had crashed. */
  async down(): Promise<string> {
    if (!this.#isUp) return '';
    const { stderr } = await this.#execute('down');
    if (stderr !== '') process.stderr.write(stderr);
    await rm(this.#folder, { recursive: true });
    this.#isUp = false;
    this.#forget();
    return stderr;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.down();
  }

  async #run(...args: string[]): Promise<string> {
    return (await this.#execute(...args)).stdout;
  }

  #execute(...args: string[]): Promise<{ stdout: string; stderr: string }> {
    return execute(script, args, { env: this.#env, timeout: longestMs, maxBuffer: 16 * 1024 * 1024 });
  }
}

/** The images of the private engine that scripts/test starts: a copy, where other suites use the engine at the same time. */
function seedOfTests(): string {
  const copy = process.env['KATAFLEET_TEST_SEED'];
  if (copy) return copy;
  const engine = process.env['KATAFLEET_TEST_ENGINE'];
  assert.ok(engine, 'KATAFLEET_TEST_ENGINE must name the folder of an engine that has the images; scripts/test sees to it');
  return join(engine, 'data');
}

/** 10.64 to 10.127, where two processes begin their search at different places. No route of this machine leads there. */
function freeSubnet(): string {
  const taken = new Set(
    Object.values(networkInterfaces())
      .flat()
      .map((address) => address?.address.split('.').slice(0, 3).join('.')),
  );
  const [block, size] = [64 * 256, 64];
  for (let at = process.pid % block; at < (process.pid % block) + block; at += 1) {
    const subnet = `10.${size + (at % size)}.${Math.floor(at / size) % 256}`;
    if (!taken.has(subnet) && !routed(subnet)) return subnet;
  }
  throw new Error('no network of 10.64 to 10.127 is free');
}

/** Whether anything but the default route leads to a network. */
function routed(subnet: string): boolean {
  const route = execFileSync('ip', ['-4', 'route', 'show', 'match', `${subnet}.0/24`], { encoding: 'utf8' });
  return route.split('\n').some((line) => line !== '' && !line.startsWith('default'));
}
