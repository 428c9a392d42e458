import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventually } from './eventually.ts';

/** A registry of images, Debian's docker-registry, on an address of this machine. Disposing it removes it. */
export class Registry implements AsyncDisposable {
  /** `ADDRESS:PORT` */
  readonly name: string;
  readonly #child: ChildProcess;
  readonly #folder: string;

  private constructor(name: string, child: ChildProcess, folder: string) {
    this.name = name;
    this.#child = child;
    this.#folder = folder;
  }

  static async start(address: string, port = 5443): Promise<Registry> {
    const folder = await mkdtemp(join(tmpdir(), 'katafleet-registry-'));
    const name = `${address}:${port}`;
    const configuration = { version: '0.1', storage: { filesystem: { rootdirectory: join(folder, 'data') } }, http: { addr: name } };
    await writeFile(join(folder, 'registry.yml'), JSON.stringify(configuration)); // YAML is a superset of JSON
    const child = spawn('docker-registry', ['serve', join(folder, 'registry.yml')], {
      stdio: 'ignore',
      env: { PATH: process.env['PATH'] },
    });
    await once(child, 'spawn');
    const registry = new Registry(name, child, folder);
    await eventually('the registry answers', 60, async () => {
      if (child.exitCode !== null) throw new Error(`docker-registry ended with ${child.exitCode}`);
      await fetch(`http://${name}/v2/`);
    });
    return registry;
  }

  /** Names of its repositories. */
  async repositories(): Promise<string[]> {
    const answer = await fetch(`http://${this.name}/v2/_catalog`);
    return ((await answer.json()) as { repositories: string[] }).repositories;
  }

  /** Takes connections and answers none from now on. */
  freeze(): void {
    this.#child.kill('SIGSTOP');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = this.#child.exitCode === null && this.#child.signalCode === null ? once(this.#child, 'close') : undefined;
    this.#child.kill('SIGKILL');
    await closed;
    await rm(this.#folder, { recursive: true, force: true });
  }
}
