import assert from 'node:assert/strict';
import { existsSync, readdirSync, readlinkSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Rsync } from '../../../src/rsync/rsync.ts';

const open = (folder: string) =>
  readdirSync('/proc/self/fd').filter((fd) => {
    const path = `/proc/self/fd/${fd}`;
    return existsSync(path) && readlinkSync(path) === folder;
  }).length;

describe('rsync: where the modules can’t be written', function () {
  let root: string;
  let full = false;
  let rsync: Rsync;
  const source = () => join(root, 'source');

  before(function () {
    if (process.getuid?.() !== 0) this.skip(); // katafleet has to be root for rsync
  });

  beforeEach(async () => {
    full = false;
    root = await realpath(await mkdtemp(join(tmpdir(), 'katafleet-rsync-')));
    await mkdir(source());
    const daemon = {
      ready: async () => undefined,
      publish: async () => {
        if (full) throw new Error('ENOSPC: no space left on device');
      },
      close: async () => undefined,
    };
    const at = { host: '127.0.0.1', port: 1 };
    const options = { daemon: 'own', program: 'rsync', accept: [], listen: at, advertise: at, hostsAllow: [], pushFrom: 0 } as const;
    rsync = new Rsync({ ...options, folder: join(root, 'rsync'), roots: [root], timeoutMs: 1_000 }, daemon);
    await rsync.ready();
  });
  afterEach(() => rm(root, { recursive: true }));

  it('a pull leaves no open folder behind, and no secret', async () => {
    const pull = await rsync.pull(source());
    assert.equal(open(source()), 1);
    full = true;
    await assert.rejects(async () => pull[Symbol.asyncDispose](), /ENOSPC/);
    await assert.rejects(rsync.pull(source()), /ENOSPC/);
    assert.deepEqual([open(source()), await readdir(join(root, 'rsync/secrets'))], [0, []]);
  });

  it('a drop leaves no files behind, and no secret', async () => {
    const drop = await rsync.drop([]);
    full = true;
    await assert.rejects(drop.take(), /ENOSPC/);
    await assert.rejects(async () => drop[Symbol.asyncDispose](), /ENOSPC/);
    await assert.rejects(rsync.drop([]), /ENOSPC/);
    assert.deepEqual([await readdir(join(root, 'rsync/drops')), await readdir(join(root, 'rsync/secrets'))], [[], []]);
  });
});
