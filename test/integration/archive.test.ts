import assert from 'node:assert/strict';
import { spawn, execFile } from 'node:child_process';
import { once } from 'node:events';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import Dockerode from 'dockerode';
import { toV1Archive } from '../../src/drivers/ssh/archive/convert.ts';
import { endpoint } from '../support/fleet.ts';
import { importScratch, scratchImage } from '../support/scratch.ts';

const docker = async (...words: string[]) => (await promisify(execFile)('docker', ['-H', endpoint, ...words])).stdout.trim();

describe('archives for Docker 1.6, made of what this engine saves', () => {
  const name = `katafleet-test/v1-${process.pid}:made`;
  after(() => docker('rmi', name));

  it('are loaded by this engine too, with the same layers and configuration', async () => {
    await importScratch(new Dockerode({ socketPath: endpoint.replace('unix://', ''), host: undefined }));
    const built = spawn('docker', ['-H', endpoint, 'build', '-q', '-t', name, '-'], { stdio: ['pipe', 'ignore', 'inherit'] });
    built.stdin.end(`FROM ${scratchImage}\nENV A=b\nLABEL c=d\nCMD ["/program"]\nWORKDIR /sandbox\n`);
    assert.deepEqual(await once(built, 'close'), [0, null]);
    const told = () =>
      docker(
        'inspect',
        '-f',
        '{{json .RootFS.Layers}} {{json .Config.Env}} {{json .Config.Labels}} {{json .Config.Cmd}} {{.Config.WorkingDir}}',
        name,
      );
    const before = await told();

    const save = spawn('docker', ['-H', endpoint, 'save', name]);
    await using converted = await toV1Archive(save.stdout);
    assert.deepEqual(converted.names, [name]);
    await docker('rmi', name);
    const load = spawn('docker', ['-H', endpoint, 'load'], { stdio: ['pipe', 'ignore', 'inherit'] });
    const loaded = once(load, 'close');
    await pipeline(converted.archive, load.stdin);
    assert.deepEqual(await loaded, [0, null]);
    assert.equal(await told(), before);
  });
});
