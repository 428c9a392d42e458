import assert from 'node:assert/strict';
import { type ChildProcess, execFile, execFileSync } from 'node:child_process';
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
/** The longest that one command of scripts/testbed may take, ms. The script itself has shorter limits. */
const longestMs = 240_000;

export interface TestbedOptions {
  /** How many hosts: h1, h2, …. */
  hosts: number;
  /** Memory of each host, such as `1g`; all of the machine's if absent. */
  memory?: string;
  /** Data root of the engine whose images the hosts get; that of the tests' private engine if absent. */
  seed?: string;
  /** The first so many hosts are managers of one swarm, the rest are workers. No swarm if absent. */
  managers?: number;
  /** Heartbeat of the swarm's nodes, such as `5s`; a shorter one finds a lost node sooner. 1 s if absent. */
  heartbeat?: string;
  /** Further arguments of the hosts' dockerd. */
  dockerd?: string;
}

export type Verb = 'kill' | 'start' | 'freeze' | 'thaw' | 'cut' | 'heal' | 'kill-engine' | 'start-engine' | 'kill-sshd' | 'start-sshd';

/** The `docker` command that behaves as 1.6.2 does. */
export const oldDocker = fileURLToPath(new URL('docker-1.6/docker', import.meta.url));

/** Hosts of scripts/testbed, with a folder and a network of their own. Disposing it, or the end of the process, removes them. */
export class Testbed implements AsyncDisposable {
  readonly hosts: readonly string[];
  readonly #folder: string;
  readonly #subnet: string;
  readonly #env: NodeJS.ProcessEnv;
  readonly #forget: () => void;
  /** Commands under way. */
  readonly #children = new Set<ChildProcess>();
  #isUp = true;

  private constructor(folder: string, count: number) {
    this.#folder = folder;
    this.#subnet = freeSubnet();
    this.#env = { ...process.env, TESTBED: join(folder, 'bed'), TESTBED_SUBNET: this.#subnet };
    this.hosts = Array.from({ length: count }, (_, index) => `h${index + 1}`);
    this.#forget = atExit(() => {
      for (const child of this.#children) child.kill('SIGKILL'); // else `down` would wait for those that hold the lock
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

  /** The endpoint of a host's engine. */
  endpoint(host: string): string {
    return `tcp://${this.address(host)}:2375`;
  }

  /** The endpoint of a host over ssh; {@link sshConfig} knows the name. */
  sshEndpoint(host: string): string {
    return `ssh://${host}`;
  }

  /** This machine's address, as the hosts see it. */
  get server(): string {
    return `${this.#subnet}.1`;
  }

  address(host: string): string {
    return `${this.#subnet}.${10 + Number(host.slice(1))}`;
  }

  /** A configuration for OpenSSH that knows every host by its name, with a key that test-runner accepts. */
  get sshConfig(): string {
    return join(this.#folder, 'bed/ssh_config');
  }

  /** Returns the path on this machine of a host's own file (/etc, /home, /root, /tmp, /var, /usr/local). */
  path(host: string, path: string): string {
    return join(this.#folder, 'bed', host, 'disk', path.replace(/^\/usr\/local\//, '/local/'));
  }

  /** Puts docker 1.6 first on a host's PATH. */
  async useOldDocker(host: string): Promise<void> {
    await cp(oldDocker, this.path(host, '/usr/local/bin/docker'));
  }

  /** Runs a command on a host, as root; returns its output. */
  sh(host: string, ...words: string[]): Promise<string> {
    return this.#run('sh', host, ...words);
  }

  /** Runs a command on a host, as root, that may fail. */
  on(host: string, words: readonly string[], input: string | Buffer = ''): Said {
    return said(script, ['sh', host, ...words], { input, env: this.#env });
  }

  /** The socket of a host's engine on this machine; it works even if the host's cable is cut. */
  socket(host: string): string {
    return join(this.#folder, 'bed', host, 'run/docker.sock');
  }

  /** Runs docker's client on a host; returns its output. */
  docker(host: string, ...args: string[]): Promise<string> {
    return this.#run('docker', host, ...args);
  }

  /** Containers on a host with a label of katafleet, in any state. */
  async containers(host: string): Promise<string[]> {
    const ids = await this.docker(host, 'ps', '--all', '--quiet', '--filter', 'label=katafleet.role');
    return ids.split('\n').filter((id) => id !== '');
  }

  /** Breaks or repairs a host, see `scripts/testbed help`. */
  async do(verb: Verb, host: string): Promise<void> {
    await this.#run(verb, host);
  }

  /** Limits a host's network to a rate such as 10mbit, both ways; `off` ends the limit. */
  async slow(host: string, rate: string): Promise<void> {
    await this.#run('slow', host, rate);
  }

  /** Removes the hosts. Returns the script's output, which names crashed engines. */
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
    const running = execute(script, args, { env: this.#env, timeout: longestMs, maxBuffer: 16 * 1024 * 1024 });
    const { child } = running;
    this.#children.add(child);
    return running.finally(() => this.#children.delete(child));
  }
}

/** The images of the private engine that scripts/test starts, as a copy if other suites use the engine at the same time. */
function seedOfTests(): string {
  const copy = process.env['KATAFLEET_TEST_SEED'];
  if (copy) return copy;
  const engine = process.env['KATAFLEET_TEST_ENGINE'];
  assert.ok(engine, 'KATAFLEET_TEST_ENGINE must name the folder of an engine that has the images; scripts/test sees to it');
  return join(engine, 'data');
}

/** Returns a free subnet from 10.64 to 10.127: no route of this machine leads there. Processes begin their search at different places. */
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

/** Whether a route other than the default one leads to a network. */
function routed(subnet: string): boolean {
  const route = execFileSync('ip', ['-4', 'route', 'show', 'match', `${subnet}.0/24`], { encoding: 'utf8' });
  return route.split('\n').some((line) => line !== '' && !line.startsWith('default'));
}
