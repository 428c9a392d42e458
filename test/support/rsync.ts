import { chown, mkdir, mkdtemp, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { encodePath } from '../../src/model/paths.ts';
import { sandboxUser } from '../../src/model/users.ts';
import type { Katafleet, KatafleetOptions } from '../../src/app/library.ts';
import type { RsyncOptions } from '../../src/rsync/rsync.ts';
import { testFleet } from './fleet.ts';
import { freePort } from './free-port.ts';

/** A folder for sources, and the settings of a loopback daemon that may serve them. */
export class RsyncGround implements AsyncDisposable {
  readonly folder: string;
  readonly options: RsyncOptions & { network: string };
  readonly troubles: string[] = [];

  private constructor(folder: string, port: number) {
    this.folder = folder;
    const address = { host: '127.0.0.1', port };
    this.options = {
      daemon: 'own',
      program: 'rsync',
      accept: [],
      folder: join(folder, 'daemon'),
      listen: address,
      advertise: address,
      hostsAllow: ['127.0.0.1/32'],
      roots: [join(folder, 'katas')],
      timeoutMs: 20_000,
      pushFrom: 0,
      network: 'host',
      onTrouble: (message) => this.troubles.push(message),
    };
  }

  static async make(): Promise<RsyncGround> {
    const folder = await mkdtemp(join(tmpdir(), 'katafleet-rsync-'));
    await mkdir(join(folder, 'katas'));
    return new RsyncGround(folder, await freePort());
  }

  /** Makes a source with these files. All have the same time stamp, except folders (a name that ends in `/`). */
  async source(name: string, files: Readonly<Record<string, string | Uint8Array>>): Promise<string> {
    const path = join(this.folder, 'katas', name);
    await mkdir(path, { recursive: true });
    await chown(path, sandboxUser.uid, sandboxUser.gid);
    for (const [file, content] of Object.entries(files)) {
      const at = Buffer.concat([Buffer.from(`${path}/`), encodePath(file)]);
      if (file.endsWith('/')) {
        await mkdir(at, { recursive: true });
        continue;
      }
      if (dirname(file) !== '.') await mkdir(join(path, dirname(file)), { recursive: true });
      await writeFile(at, content);
      await chown(at, sandboxUser.uid, sandboxUser.gid);
      await utimes(at, 1_600_000_000, 1_600_000_000);
    }
    return path;
  }

  fleet(options: KatafleetOptions = {}): Katafleet {
    return testFleet({ rsync: this.options, onTrouble: (message) => this.troubles.push(message), ...options });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
  }
}
