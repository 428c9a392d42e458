import assert from 'node:assert/strict';
import Dockerode from 'dockerode';
import { SshDriver } from '../../src/drivers/ssh/driver.ts';
import { SshTransport } from '../../src/drivers/transport/transport.ts';
import { type Katafleet, Placing, type RunRequest } from '../../src/app/library.ts';
import { driverContract } from '../support/driver-contract.ts';
import { environmentFacts } from '../support/environment.ts';
import { eventually } from '../support/eventually.ts';
import { forSeconds, sh, stderr, stdout, withoutUid } from '../support/fleet.ts';
import { importScratch, scratchImage } from '../support/scratch.ts';
import { sshFleet, sshNode } from '../support/ssh-fleet.ts';
import { Testbed } from '../support/testbed.ts';

const image = 'build-essential';
const MiB = 1024 ** 2;

describe('nodes over ssh', function () {
  this.timeout(180_000);
  let bed: Testbed;
  before(async () => {
    bed = await Testbed.up({ hosts: 3 });
    for (const old of ['h1', 'h3']) await bed.useOldDocker(old);
  });
  after(() => bed?.down());

  const driver = (host: string) => () => new SshDriver(new SshTransport(bed.sshEndpoint(host), { config: bed.sshConfig }));
  driverContract('ssh, Docker 1.6.2', () => driver('h1')(), image);
  driverContract('ssh, the docker command of a host that has a newer one', () => driver('h2')(), image);

  describe('one with Docker 1.6.2', () => {
    let fleet: Katafleet;
    before(async () => {
      fleet = await sshFleet([sshNode(bed, 'h1')]);
    });
    after(() => fleet?.close());

    it('is served by its docker command, and says why', () => {
      const [node] = fleet.fleet.nodes();
      assert.deepEqual([node?.driver, node?.engine], ['ssh', '1.6.2']);
      assert.equal(node?.why, 'engine 1.6.2 has no usable API');
    });

    it('runs with files both ways, warm', async () => {
      await fleet.warm(image, 1);
      const files = [
        { path: 'in/a b', mode: 0o640, mtimeNs: 1_700_000_000_123_456_789n, content: Buffer.from('given') },
        { path: 'gone', mode: 0o644, mtimeNs: 0n, content: Buffer.from('x') },
      ];
      const result = await sh(fleet, 'cat "in/a b"; stat -c %y "in/a b"; rm gone; printf "\\0made" > out; exit 3', { files });
      assert.deepEqual([result.warm, result.outcome], [true, { kind: 'exited', code: 3 }]);
      assert.match(stdout(result), /^given2023-11-14 22:13:20\.123456789/);
      assert.deepEqual(
        result.changes.files.map(({ path, content }) => [path, content.toString()]),
        [['out', '\0made']],
      );
      assert.deepEqual(result.changes.deleted, ['gone']);
    });

    it('tells how each ended: by the clock, by a signal, for want of memory, with output before it', async () => {
      const step = { limits: { wallMs: 3_000 } };
      const late = await sh(fleet, 'echo before; sleep 60', {}, step);
      assert.deepEqual([late.outcome, stdout(late)], [{ kind: 'timed_out', clock: 'wall' }, 'before\n']);
      assert.deepEqual((await sh(fleet, 'kill -SEGV $$')).outcome, { kind: 'signalled', signal: 11 });
      const hungry = await sh(fleet, 'echo begun; exec tail /dev/zero', { profile: { memory: 64 * MiB } });
      assert.deepEqual([hungry.outcome, stdout(hungry)], [{ kind: 'out_of_memory' }, 'begun\n']);
    });

    it('makes good what 1.6 lacks: processes, disk, privileges, network', async () => {
      const bomb = await sh(fleet, 'for i in $(seq 100); do sleep 20 & done; jobs | wc -l', { profile: { pids: 16 } });
      assert.match(stderr(bomb), /Resource temporarily unavailable/);
      const script = 'head -c 100M /dev/zero > big; id -u; grep -E "^(NoNewPrivs|CapBnd)" /proc/self/status; ls /sys/class/net; touch /x';
      const result = await sh(fleet, script, { profile: { memory: 64 * MiB } });
      const [uid, ...rest] = stdout(result).trim().split(/\s+/);
      assert.equal(withoutUid(uid ?? ''), 'UID');
      assert.deepEqual(rest, ['CapBnd:', '0000000000000000', 'NoNewPrivs:', '1', 'lo']);
      assert.match(stderr(result), /No space left on device[\s\S]*Read-only file system/);
    });

    environmentFacts('ssh, Docker 1.6.2', () => fleet, 'katafleet/debian:bookworm');

    it('leaves nothing behind', async () => {
      await fleet.warm(image, 0);
      await eventually('all its containers are gone', 60, async () => assert.deepEqual(await bed.containers('h1'), []));
    });
  });

  it('30 warm sandboxes share 4 connections', async () => {
    await using fleet = await sshFleet([sshNode(bed, 'h1')]);
    await fleet.warm(image, 30, { memory: 16 * MiB }, AbortSignal.timeout(120_000));
    const established = await bed.sh('h1', 'ss', '-Htn', 'state', 'established', 'sport = :22');
    const connections = established.trim().split('\n').length;
    assert.ok(connections <= 4, `${connections} connections:\n${established}`);
    const request: RunRequest = { image, files: [], steps: [{ argv: ['true'] }], profile: { memory: 16 * MiB } };
    const results = await Promise.all(Array.from({ length: 30 }, () => fleet.run(request)));
    assert.equal(results.filter(({ warm, outcome }) => warm && outcome.kind === 'exited').length, 30);
  });

  it('an endpoint with a newer docker is an engine node, over the same connections', async () => {
    await using fleet = await sshFleet([sshNode(bed, 'h2')]);
    const [node] = fleet.fleet.nodes();
    assert.deepEqual([node?.driver, node?.api], ['engine', '1.41']);
    await fleet.warm(image, 10, { memory: 16 * MiB });
    const established = await bed.sh('h2', 'ss', '-Htn', 'state', 'established', 'sport = :22');
    assert.ok(established.trim().split('\n').length <= 3, established);
    assert.equal(stdout(await sh(fleet, 'echo here')), 'here\n');
  });

  describe('the docker command of a newer one', () => {
    let fleet: Katafleet;
    before(async () => {
      fleet = await sshFleet([sshNode(bed, 'h2', { driver: 'ssh' })]);
    });
    after(() => fleet?.close());
    environmentFacts('ssh, a newer docker', () => fleet, 'katafleet/debian:bookworm');
  });

  it('the configuration can ask for the docker command there', async () => {
    await using fleet = await sshFleet([sshNode(bed, 'h2', { driver: 'ssh' })]);
    const [node] = fleet.fleet.nodes();
    assert.deepEqual([node?.driver, node?.why], ['ssh', "the host's own docker command"]);
    assert.equal(withoutUid(stdout(await sh(fleet, 'id -u'))), 'UID\n');
  });

  it('an image that only a newer engine has is brought to one with Docker 1.6.2, and runs there', async () => {
    await importScratch(new Dockerode({ socketPath: bed.socket('h2'), host: undefined }));
    await bed.docker('h1', 'rmi', '--force', scratchImage).catch(() => undefined); // it may have come with the others
    await using fleet = await sshFleet([sshNode(bed, 'h1'), sshNode(bed, 'h2')]);
    const files = [{ path: 'in', mode: 0o644, mtimeNs: 0n, content: Buffer.from('given') }];
    const request: RunRequest = { image: scratchImage, files, steps: [{ argv: ['/program'] }] };
    const result = await fleet.run(request, { placing: Placing.parse({ constraints: ['host==h1'] }) });
    assert.deepEqual([result.node, result.outcome], ['h1', { kind: 'exited', code: 0 }]);
  });

  describe('two with Docker 1.6.2, one of which breaks in the middle of a run', () => {
    const blows: { what: string; blow: (host: string) => Promise<unknown>; mend: (host: string) => Promise<unknown> }[] = [
      { what: 'its network is cut', blow: (host) => bed.do('cut', host), mend: (host) => bed.do('heal', host) },
      {
        what: 'its sshd and all that it runs is killed',
        blow: (host) => bed.sh(host, 'sh', '-c', 'while pids=$(pidof sshd); do kill -9 $pids || :; done'),
        mend: (host) => bed.do('start-sshd', host),
      },
      { what: 'its engine is killed', blow: (host) => bed.do('kill-engine', host), mend: (host) => bed.do('start-engine', host) },
      {
        what: 'its engine is restarted at once',
        blow: (host) => bed.do('kill-engine', host).then(() => bed.do('start-engine', host)),
        mend: () => Promise.resolve(),
      },
    ];
    for (const { what, blow, mend } of blows) {
      it(`${what}: the run is tried elsewhere, nothing stays on the node, and it comes back by itself`, async () => {
        await using fleet = await sshFleet([sshNode(bed, 'h1'), sshNode(bed, 'h3')], { graceMs: 1_000 });
        await fleet.warm(image, 2);
        const member = (host: string) => {
          const found = fleet.fleet.all.find(({ settings }) => settings.name === host);
          assert.ok(found);
          return found;
        };
        const run = sh(fleet, `echo begun; ${forSeconds(12)}; echo done`, {}, { limits: { wallMs: 60_000 } });
        const first = await eventually('the run is under way', 60, async () => {
          const [busy] = fleet.fleet.all.filter(({ sandboxes }) => sandboxes.busy > 0);
          assert.ok(busy);
          return busy.settings.name;
        });
        await blow(first);
        try {
          const result = await run;
          assert.deepEqual([result.outcome, stdout(result)], [{ kind: 'exited', code: 0 }, 'begun\ndone\n']);
          assert.deepEqual([result.node === first, result.attempt], [false, 2]);
        } finally {
          await mend(first);
        }
        await eventually('the node is ready again', 60, async () => assert.equal(member(first).state, 'ready'));
        await fleet.warm(image, 0);
        await eventually('nothing is left on it', 60, async () => assert.deepEqual(await bed.containers(first), []));
      });
    }
  });
});
