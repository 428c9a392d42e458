import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const script = fileURLToPath(new URL('../../scripts/testbed', import.meta.url));
/** The `docker` that behaves as 1.6.2 does. */
export const oldDocker = fileURLToPath(new URL('docker-1.6/docker', import.meta.url));

export interface Said {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** A command to its end, its output as text. */
export function said(
  command: string,
  words: readonly string[],
  { input = '', env = {} }: { input?: string | Buffer; env?: NodeJS.ProcessEnv } = {},
): Said {
  const { status, stdout, stderr, error } = spawnSync(command, words, {
    input,
    encoding: 'utf8',
    env: { ...process.env, ...env },
    maxBuffer: 1 << 28,
  });
  if (error) throw error;
  return { code: status, stdout, stderr };
}

/**
 * Several real hosts, each with its own sshd and engine (scripts/testbed), in a folder of their own. They have the images
 * of the engine that scripts/test keeps, under the same ids.
 */
export class Testbed {
  readonly folder: string;
  readonly subnet: string;
  readonly #scratch: string | undefined;
  readonly #env: NodeJS.ProcessEnv;

  /** TESTBED and TESTBED_SUBNET say where; each suite that may run beside others has a `subnet` of its own. */
  constructor(subnet: string) {
    this.#scratch = process.env['TESTBED'] === undefined ? mkdtempSync(join(tmpdir(), 'katafleet-testbed-')) : undefined;
    this.folder = process.env['TESTBED'] ?? join(this.#scratch ?? '', 'hosts');
    this.subnet = process.env['TESTBED_SUBNET'] ?? subnet;
    this.#env = { TESTBED: this.folder, TESTBED_SUBNET: this.subnet };
  }

  /** Boots `count` hosts, from h1 on; the machine is `server` to them. */
  up(count: number, ...options: string[]): void {
    const engine = process.env['KATAFLEET_TEST_ENGINE'] ?? '';
    assert.notEqual(engine, '', 'KATAFLEET_TEST_ENGINE must name the folder of an engine with images; scripts/test sees to it');
    this.#do('up', String(count), '--seed', join(engine, 'data'), ...options);
  }

  down(): void {
    if (existsSync(this.folder)) this.#do('down');
    if (this.#scratch !== undefined) rmSync(this.#scratch, { recursive: true, force: true });
  }

  #do(...words: string[]): string {
    const { code, stdout, stderr } = said(script, words, { env: this.#env });
    assert.equal(code, 0, `scripts/testbed ${words.join(' ')}: ${stderr}`);
    return stdout;
  }

  get server(): string {
    return `${this.subnet}.1`;
  }

  address(host: string): string {
    return `${this.subnet}.${10 + Number(host.slice(1))}`;
  }

  /** A verb of scripts/testbed on a host: kill, start, cut, heal, kill-engine and so on. */
  do(verb: string, host: string): void {
    this.#do(verb, host);
  }

  /** A command on a host, as root. */
  on(host: string, words: readonly string[], input: string | Buffer = ''): Said {
    return said(script, ['sh', host, ...words], { input, env: this.#env });
  }

  /** The same, and it must succeed: its output. */
  must(host: string, words: readonly string[], input: string | Buffer = ''): string {
    const { code, stdout, stderr } = this.on(host, words, input);
    assert.equal(code, 0, `${words.join(' ')} on ${host}: ${stderr}${stdout}`);
    return stdout;
  }

  /** The engine's own, new client on a host. */
  docker(host: string, ...words: string[]): string {
    return this.#do('docker', host, ...words);
  }

  /** Puts the docker of 1.6 first on a host's PATH. */
  useOldDocker(host: string): void {
    copyFileSync(oldDocker, this.path(host, '/usr/local/bin/docker'));
  }

  /** Where a file of a host's own (/etc, /home, /root, /tmp, /var, /usr/local) lies on this machine. */
  path(host: string, path: string): string {
    return join(this.folder, host, 'disk', path.replace(/^\/usr\/local\//, '/local/'));
  }

  /** OpenSSH's words for a configuration in which every host is known by its name. */
  get config(): string {
    return join(this.folder, 'ssh_config');
  }

  /** ssh to a host with a key and a command, from this machine. */
  ssh(host: string, key: string, line: string, input: string | Buffer = ''): Said {
    return said('ssh', [...this.sshWords(host, key), line], { input });
  }

  sshWords(host: string, key: string): string[] {
    const options = [
      'BatchMode=yes',
      'StrictHostKeyChecking=yes',
      `UserKnownHostsFile=${join(this.folder, 'known_hosts')}`,
      'IdentitiesOnly=yes',
      'ConnectTimeout=5',
    ];
    return ['-F', 'none', '-i', key, ...options.flatMap((option) => ['-o', option]), '-T', `test-runner@${this.address(host)}`];
  }

  /** The same with its stream open. */
  openSsh(host: string, key: string, line: string) {
    return spawn('ssh', [...this.sshWords(host, key), line], { stdio: 'pipe' });
  }
}
