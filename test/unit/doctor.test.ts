import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { folderFindings, isInstalled } from '../../src/cli/doctor/machine.ts';
import { answerTime, limits } from '../../src/drivers/finding.ts';
import type { Fingerprint } from '../../src/drivers/contract.ts';

describe('doctor', () => {
  let folder: string;
  beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'katafleet-doctor-'))));
  afterEach(() => rmSync(folder, { recursive: true }));

  it('finds programs of administrators, which are not on an ordinary user’s PATH', () => {
    const sbin = spawnSync('sh', ['-c', 'ls /usr/sbin | head -n 1'], { encoding: 'utf8' }).stdout.trim();
    assert.ok(isInstalled(sbin, '/usr/local/bin:/usr/bin:/bin'));
    assert.ok(!isInstalled('no-such-program-of-ours', '/usr/bin'));
    writeFileSync(join(folder, 'own'), '#!/bin/sh\n');
    assert.ok(!isInstalled('own', folder), 'it can’t be executed');
    chmodSync(join(folder, 'own'), 0o755);
    assert.ok(isInstalled('own', `:${folder}`));
  });

  it('reports a journal or a folder of katas that can’t be written', () => {
    const [file, katas] = [join(folder, 'state/katafleet/journal.db'), join(folder, 'katas')];
    const states = (journal: string) =>
      folderFindings({
        journal: { file: journal, keepResults: 1, keepBytes: 1, keepEvents: 1, durability: 'process' },
        katas: { folder: katas },
      }).map(({ state }) => state);
    assert.deepEqual(states(file), ['good', 'good'], 'folders that can be made');
    mkdirSync(join(folder, 'state/katafleet'), { recursive: true });
    writeFileSync(file, '');
    assert.deepEqual(states(file), ['good', 'good']);
    writeFileSync(katas, '');
    const [journal, place] = folderFindings({
      journal: { file: join(katas, 'journal.db'), keepResults: 1, keepBytes: 1, keepEvents: 1, durability: 'process' },
      katas: { folder: join(katas, 'x') },
    });
    assert.equal(journal?.state, 'bad');
    assert.match(journal.what, /^the journal can't be written by \S+: \S+katas is not a folder \(\S+katas\/journal\.db\)$/);
    assert.match(journal.mend ?? '', /server-setup,.* set journal\.file in katafleet\.yaml to a path that \S+ can write$/);
    assert.match(place?.what ?? '', /^the folder of the katas can't be written/);
  });

  it('compares the time of a probe with the fleet’s own limit', () => {
    assert.deepEqual(answerTime(120, 2_000), { what: 'the probe took 120 ms', state: 'good' });
    assert.equal(answerTime(2_500, 2_000).state, 'weak');
    const late = answerTime(4_600, 2_000);
    assert.equal(late.state, 'bad');
    assert.match(late.what, /^the probe took 4600 ms, and the fleet waits 4000 ms, twice health\.timeout: the node would be down$/);
    assert.equal(late.mend, 'health: { timeout: 10s } in katafleet.yaml');
  });

  it('suggests swapoff only where katafleet can see that a node has no swap', () => {
    const found = { enforces: { memory: true, swap: false, pids: true, cpu: true } } as Fingerprint;
    const mend = (swapoff?: boolean) =>
      limits(found, { memory: 'bad', swap: 'bad' }, swapoff).find(({ what }) => what.startsWith('swap'))?.mend;
    assert.equal(mend(), 'boot with swapaccount=1, or swapoff -a');
    assert.equal(mend(false), 'boot with swapaccount=1');
  });
});
