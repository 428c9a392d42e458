import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { labels } from '../../src/model/labels.ts';
import { defaultUids, uidsInWords } from '../../src/model/users.ts';
import { SshDriver } from '../../src/drivers/ssh/driver.ts';
import { supervisorBinary } from '../../src/drivers/docker/supervisor.ts';
import { SshTransport } from '../../src/drivers/transport/transport.ts';
import { fakeSsh } from '../support/fake-ssh.ts';
import { endpoint } from '../support/fleet.ts';
import { oldDocker } from '../support/testbed.ts';

const docker = async (...words: string[]) => (await promisify(execFile)('/usr/bin/docker', ['-H', endpoint, ...words])).stdout.trim();
const evil = "printf '#!/bin/sh\\nid\\n' > /evil; chmod 755 /evil";
/** What is done to build-essential. */
const forms = {
  file: `${evil}; mv /evil /.katafleet/supervisor`,
  'linked-folder': `${evil}; mkdir /x; mv /evil /x/supervisor; rm -r /.katafleet; ln -s /x /.katafleet`,
};

for (const [release, client, tried, looks] of [
  ['1.6.2', oldDocker, ['linked-folder'], false],
  ['of today', '/usr/bin/docker', ['file', 'linked-folder'], true],
] as const) {
  describe(`images that claim the supervisor’s label, by the docker command ${release} over ssh`, function () {
    this.timeout(120_000);
    const repo = 'katafleet-test/forged-ssh';
    const folder = mkdtempSync(join(tmpdir(), 'katafleet-forged-'));
    const [path, host] = [process.env['PATH'], process.env['DOCKER_HOST']];
    const made: string[] = [];
    let driver: SshDriver;
    before(async () => {
      writeFileSync(join(folder, 'ssh'), fakeSsh, { mode: 0o755 });
      Object.assign(process.env, { PATH: [folder, dirname(client), path].join(delimiter), LOG: '/dev/null', DOCKER_HOST: endpoint });
      driver = new SshDriver(new SshTransport('ssh://here'));
      await driver.probe();
    });
    after(async () => {
      driver.close();
      for (const id of made.reverse()) {
        const adapted = await docker('images', '-q', '--no-trunc', '--filter', `label=${labels.adaptedFrom}=${id}`);
        await docker('rmi', '-f', ...adapted.split('\n').filter((one) => one !== '' && !made.includes(one)), id);
      }
      Object.assign(process.env, { PATH: path, DOCKER_HOST: host });
      delete process.env['LOG'];
      rmSync(folder, { recursive: true, force: true });
    });

    for (const form of tried) {
      it(`are served by the real one: ${form}`, async () => {
        const supervisor = await supervisorBinary('amd64');
        const claims = { [labels.supervisor]: supervisor.sha256, [labels.uids]: uidsInWords(defaultUids) };
        const changes = Object.entries(claims).flatMap(([name, value]) => ['-c', `LABEL ${name}=${value}`]);
        const container = await docker('run', '-d', '--net', 'none', 'katafleet/build-essential', 'bash', '-ec', forms[form]);
        try {
          assert.equal(await docker('wait', container), '0');
          made.push(await docker('commit', ...changes, container, `${repo}:${form}`));
        } finally {
          await docker('rm', '-f', container);
        }
        const { id } = await driver.prepare(`${repo}:${form}`);
        const told = await docker('run', '--rm', '--net', 'none', '--entrypoint', '/bin/sha256sum', id, '/.katafleet/supervisor');
        assert.equal(told.split(' ')[0], supervisor.sha256);
        const [folderOf, fileOf] = (
          await docker(
            'run',
            '--rm',
            '--net',
            'none',
            '--entrypoint',
            '/usr/bin/stat',
            id,
            '-c',
            '%F',
            '/.katafleet',
            '/.katafleet/supervisor',
          )
        ).split('\n');
        assert.deepEqual([folderOf, fileOf], ['directory', 'regular file']);
        assert.equal((await driver.prepare(`${repo}:${form}`)).id, id);
        const next = new SshDriver(new SshTransport('ssh://here'));
        const found = await next.prepare(`${repo}:${form}`);
        next.close();
        assert.equal(found.id === id, looks, 'what can be looked into is not made again');
        if (!looks) made.push(id); // it lost its name to the later one
      });
    }
  });
}
