import assert from 'node:assert/strict';
import { poolKey } from '../../../src/model/profile.ts';
import type { Outcome } from '../../../src/model/outcome.ts';
import { createOptions } from '../../../src/drivers/engine/options.ts';
import { checkJob } from '../../../src/runs/job.ts';
import { RunJson, requestOf } from '../../../src/model/request-json.ts';
import { pullFault, transfersWith } from '../../../src/runs/attempt/rsync-transfer.ts';
import { aStepResult } from '../../support/builders.ts';

const path = '/katas/one';
const ended = (outcome: Outcome, stderr = '') => aStepResult({ outcome, stderr, wallMs: 1 });
const exited = (code: number, stderr?: string) => ended({ kind: 'exited', code }, stderr);
const steps = [{ argv: ['true'] }];

describe('rsync: a run that names a source', () => {
  for (const [what, result, code, retry] of [
    ['an image without rsync', exited(127, 'katafleet: /usr/bin/rsync: No such file'), 'rsync.image', false],
    ['an rsync that is too old', exited(1, '--protocol must be at least 20 and no more than 30.'), 'rsync.image', false],
    ['no space', exited(11, 'write failed on "/sandbox/a": No space left on device (28)'), 'files.no_space', false],
    ['no inode', exited(23, 'mkstemp "/sandbox/.a.x" failed: No space left on device (28)'), 'files.no_space', false],
    ['no memory', ended({ kind: 'out_of_memory' }), 'files.no_space', false],
    ['a file that can’t be read', exited(23, 'send_files failed to open "/a": Permission denied (13)'), 'file.unreadable', false],
    ['a module that is gone', exited(5, '@ERROR: Unknown module'), 'rsync.failed', true],
    ['a daemon that is gone', exited(10, 'failed to connect'), 'rsync.failed', true],
    ['a connection that broke', exited(12), 'rsync.failed', true],
    ['a daemon that is silent', exited(30), 'rsync.failed', true],
    ['a pull that took too long', ended({ kind: 'timed_out', clock: 'wall' }), 'rsync.failed', true],
    ['an rsync that crashed', ended({ kind: 'signalled', signal: 11 }), 'rsync.failed', true],
  ] as const) {
    it(`${what} is ${code}${retry ? ', and worth another try' : ''}`, () => {
      const fault = pullFault(result, 'image', path);
      assert.deepEqual([fault?.code, fault?.retry], [code, retry]);
    });
  }

  it('a pull that went well is no fault, and what rsync says is told without its control characters', () => {
    assert.equal(pullFault(exited(0), 'image', path), undefined);
    assert.match(pullFault(exited(5, 'bad\x1b[31m\nthing\xff'), 'image', path)?.message ?? '', /rsync exited with 5 \(bad \[31m thing\)$/);
  });

  it('has a pool of its own, which no profile leads to', () => {
    const [plain, source] = [checkJob({ image: 'a', files: [], steps }), checkJob({ image: 'a', files: [], steps, rsync: { path } })];
    assert.equal(plain.limits.network, undefined);
    assert.equal(source.limits.network, 'rsync');
    assert.notEqual(plain.pool, source.pool);
    assert.equal(source.pool, poolKey(source.image, source.limits));
    const named = checkJob({ image: 'a', files: [], steps, profile: { network: 'rsync' } }).limits;
    assert.deepEqual([named.network, named.joins], [undefined, 'rsync'], 'a Docker network of that name, and not the daemon');
    assert.throws(() => checkJob({ image: 'a', files: [], steps, rsync: { path }, profile: { network: 'n' } }), {
      code: 'request.invalid',
    });
    const folders = [{ path: 'd', mode: 0o755, mtimeNs: 0n }];
    assert.throws(() => checkJob({ image: 'a', files: [], folders, steps, rsync: { path } }), { code: 'request.invalid' });
  });

  it('comes over HTTP as it is, and without one nothing changes', () => {
    const json = RunJson.parse({ image: 'a', command: ['true'], rsync: { path } });
    assert.deepEqual(requestOf(json, {}).rsync, { path });
    assert.ok(!('rsync' in requestOf(RunJson.parse({ image: 'a', command: ['true'] }), {})));
    assert.ok(!RunJson.safeParse({ image: 'a', command: ['true'], rsync: { path, network: 'host' } }).success);
    assert.ok(!RunJson.safeParse({ image: 'a', command: ['true'], network: 'host' }).success);
  });

  it('gets the configured network and SYS_ADMIN; without one it is refused; all others have neither', () => {
    const options = (network?: 'rsync', configured?: string) => {
      const { limits } = checkJob({ image: 'a', files: [], steps, ...(network ? { rsync: { path } } : {}) });
      const spec = { name: 'n', image: { name: 'a', id: 'sha256:a', volumes: [] }, limits, labels: {}, idleMs: 1 };
      return createOptions(spec, [1, 41], configured);
    };
    for (const configured of [undefined, 'bridge']) {
      const plain = options(undefined, configured);
      assert.equal(plain.HostConfig?.NetworkMode, 'none');
      assert.ok(!String(plain.HostConfig?.CapAdd).includes('SYS_ADMIN'));
    }
    const source = options('rsync', 'bridge');
    assert.equal(source.HostConfig?.NetworkMode, 'bridge');
    assert.ok(String(source.HostConfig?.CapAdd).includes('SYS_ADMIN'));
    assert.deepEqual(source.HostConfig?.CapDrop, ['ALL']);
    assert.throws(() => options('rsync'), { code: 'rsync.off' });
  });

  it('is refused where rsync is off', async () => {
    const job = checkJob({ image: 'a', files: [], steps, rsync: { path } });
    await assert.rejects(transfersWith(undefined).check(job), { code: 'rsync.off' });
    await transfersWith(undefined).check(checkJob({ image: 'a', files: [], steps }));
  });
});
