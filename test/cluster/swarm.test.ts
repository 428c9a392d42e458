import assert from 'node:assert/strict';
import { EngineDriver } from '../../src/drivers/engine/driver.ts';
import type { Katafleet } from '../../src/app/library.ts';
import { SwarmConnector } from '../../src/app/swarm.ts';
import { driverContract } from '../support/driver-contract.ts';
import { environmentFacts } from '../support/environment.ts';
import { sh, stderr, stdout, withoutUid } from '../support/fleet.ts';
import { assertGone, hostOfTask, importScratchOn, swarmFleet, swarmNode } from '../support/swarm.ts';
import { Testbed } from '../support/testbed.ts';

const MiB = 1024 ** 2;
const small = { memory: 64 * MiB };

describe('a swarm of one manager and two workers', function () {
  this.timeout(240_000);
  let bed: Testbed;
  let fleet: Katafleet;
  const troubles: string[] = [];
  before(async () => {
    bed = await Testbed.up({ hosts: 3, managers: 1 });
    await importScratchOn(bed, 'katafleet-test/scratch');
    fleet = swarmFleet(bed, { onTrouble: (message) => troubles.push(message) });
    await fleet.open();
    await fleet.warm('build-essential', 3);
  });
  after(async () => {
    await fleet?.close();
    await bed?.down();
  });
  afterEach(function () {
    if (this.currentTest?.state === 'failed') console.error(troubles.splice(0).join('\n'));
  });

  describe('as every driver', () => {
    let connector: SwarmConnector;
    before(() => (connector = new SwarmConnector({ stack: 'contract', listen: { host: bed.server, port: 0 } }, {})));
    after(() => connector.close());
    driverContract('swarm', () => connector.driver(new EngineDriver({ endpoint: bed.endpoint('h1') }), swarmNode(bed)), 'build-essential');
  });

  environmentFacts('swarm', () => fleet, 'katafleet/debian:bookworm');

  it('is taken for one by itself, and says so', () => {
    const [node] = fleet.fleet.nodes();
    assert.deepEqual([node?.state, node?.driver], ['ready', 'swarm']);
    assert.match(JSON.stringify(node), /manager, API 1\.\d+/);
  });

  describe('outcomes', () => {
    it('exit code, both streams, a signal', async () => {
      const result = await sh(fleet, 'echo out; echo err >&2; exit 42');
      assert.deepEqual([result.outcome, stdout(result), stderr(result)], [{ kind: 'exited', code: 42 }, 'out\n', 'err\n']);
      assert.deepEqual((await sh(fleet, 'kill -ABRT $$')).outcome, { kind: 'signalled', signal: 6 });
    });

    it('a timeout keeps what was printed before', async () => {
      const result = await sh(fleet, 'echo partial; (setsid sleep 1000 &) ; sleep 1000', { profile: { wallMs: 3_000 } });
      assert.deepEqual([result.outcome, stdout(result)], [{ kind: 'timed_out', clock: 'wall' }, 'partial\n']);
    });

    it('the end of its container says by which exit code, by the swarm’s word', async () => {
      let kills = 0;
      const result = await fleet.run(
        { image: 'build-essential', files: [], steps: [{ argv: ['bash', '-c', 'hostname; sleep 100'] }], profile: { wallMs: 100_000 } },
        {
          onOutput: async (_step, _stream, bytes) => {
            const task = bytes.toString().trim();
            const host = await hostOfTask(bed, task);
            const container = await bed.docker(host, 'ps', '--quiet', '--filter', `label=com.docker.swarm.task.id=${task}`);
            await bed.docker(host, 'kill', container.trim());
            kills += 1;
          },
        },
      );
      assert.deepEqual([result.outcome.kind, result.attempt, kills], ['lost', 2, 2]);
      assert.match(JSON.stringify(result.outcome), /the container ended with 137/);
    });

    it('out of memory is told from another kill, by the supervisor: though only a child was killed, too', async () => {
      const hog = await sh(fleet, 'echo before; tail /dev/zero', { profile: small });
      assert.deepEqual([hog.outcome, stdout(hog)], [{ kind: 'out_of_memory' }, 'before\n']);
      assert.deepEqual((await sh(fleet, 'tail /dev/zero; exit 0', { profile: small })).outcome, { kind: 'out_of_memory' });
      assert.deepEqual((await sh(fleet, 'kill -9 $$', { profile: small })).outcome, { kind: 'signalled', signal: 9 });
    });

    it('a fork bomb is held by the pids limit, and a full disk is ENOSPC', async () => {
      const bomb = await fleet.run({
        ...{ image: 'build-essential', files: [], profile: { pids: 40, ...small } },
        steps: [{ argv: ['sh', '-c', 'for i in $(seq 200); do sleep 100 & done'] }],
      });
      assert.match(stderr(bomb), /Cannot fork|Resource temporarily unavailable/);
      const full = await sh(fleet, 'head -c 200000000 /dev/zero > big; echo $?; rm big', { profile: { memory: 128 * MiB } });
      assert.deepEqual([stdout(full), /No space left on device/.test(stderr(full))], ['1\n', true]);
    });

    it('endless output is cut, and the run goes on to its deadline', async () => {
      const result = await sh(fleet, 'yes', { profile: { wallMs: 3_000, stdout: 10_000 } });
      const [step] = result.steps;
      assert.deepEqual([result.outcome, step?.stdout.length, step?.stdoutCut], [{ kind: 'timed_out', clock: 'wall' }, 10_000, true]);
      assert.ok((step?.stdoutBytes ?? 0) > 10_000);
    });

    it('files go in and come back, with their time stamps', async () => {
      const content = Buffer.from('bin\0ary\xff', 'latin1');
      const result = await sh(fleet, 'stat -c %.9Y given; cp --preserve=timestamps given kept; rm gone; echo 2 > changed', {
        files: ['given', 'gone', 'changed'].map((path) => ({ path, mode: 0o600, mtimeNs: 1_234_567_890_987_654_321n, content })),
      });
      assert.equal(stdout(result), '1234567890.987654321\n');
      const back = Object.fromEntries(result.changes.files.map((file) => [file.path, file]));
      assert.deepEqual(
        [Object.keys(back).sort(), back['kept']?.mtimeNs, back['kept']?.content.equals(content), result.changes.deleted],
        [['changed', 'kept'], 1_234_567_890_987_654_321n, true, ['gone']],
      );
    });

    it('cancelled, with what was printed before', async () => {
      const cancel = new AbortController();
      const result = await fleet.run(
        { image: 'build-essential', files: [], steps: [{ argv: ['bash', '-c', 'touch made; echo going; sleep 100'] }, { argv: ['true'] }] },
        { signal: cancel.signal, onOutput: () => cancel.abort() },
      );
      assert.deepEqual(
        [result.outcome, stdout(result), result.changes.files.map(({ path }) => path)],
        [{ kind: 'cancelled' }, 'going\n', ['made']],
      );
    });

    it('a session’s second run finds what the first has left', async () => {
      const first = await sh(fleet, 'echo left > left; (setsid sleep 100 &); hostname', { session: 'kata/avatar' });
      const second = await sh(fleet, 'cat left; pgrep -c sleep; hostname', { session: 'kata/avatar' });
      assert.deepEqual([first.resumed, second.resumed, stdout(second)], [false, true, `left\n0\n${stdout(first)}`]);
    });

    it('compiled programs run from the sandbox folder and from /tmp', async () => {
      const source = '#include <stdio.h>\nint main(void) { puts("ran"); }\n';
      const result = await sh(fleet, 'gcc p.c -o p && ./p && cp p /tmp && /tmp/p', {
        files: [{ path: 'p.c', mode: 0o644, mtimeNs: 0n, content: Buffer.from(source) }],
      });
      assert.deepEqual([stdout(result), stderr(result)], ['ran\nran\n', '']);
    });

    it('an image that holds nothing but a program works as it is: the supervisor comes as a config', async () => {
      const files = [{ path: 'in', mode: 0o644, mtimeNs: 0n, content: Buffer.from('given') }];
      const result = await fleet.run({ image: 'katafleet-test/scratch', files, steps: [{ argv: ['/program'] }], profile: small });
      assert.deepEqual([withoutUid(stdout(result)), result.changes.files.map(({ path }) => path)], ['UID given\n', ['out']]);
    });
  });

  describe('isolation', () => {
    it('each run has a fresh sandbox', async () => {
      const names = [];
      for (let run = 0; run < 6; run += 1) {
        const result = await sh(fleet, 'hostname; ls -A /tmp . | grep -v :; echo left > /tmp/left; echo left > left');
        names.push(stdout(result).trim());
      }
      assert.equal(new Set(names).size, 6, names.join());
      // By the task's id: the node's own name is not told.
      for (const name of names) assert.match(name, /^[a-z0-9]{25}$/);
    });

    it('its own loopback is up, there is no other interface, and nobody is reached: not katafleet, not an engine, not a neighbour', async () => {
      const tasks = await bed.docker('h1', 'service', 'ls', '--filter', 'label=katafleet.role=pool', '--format', '{{.ID}}');
      const [service = ''] = tasks.split('\n');
      const args = await bed.docker('h1', 'service', 'inspect', '--format', '{{json .Spec.TaskTemplate.ContainerSpec.Command}}', service);
      const listener = /"--dial","([^"]+)"/.exec(args)?.[1] ?? assert.fail(args);
      const targets = [listener, ...bed.hosts.flatMap((host) => [`${bed.address(host)}:2375`, `${bed.address(host)}:22`])];
      const reach = (target: string) => {
        const [host, port] = target.split(':');
        return `words=$( (exec 3<>/dev/tcp/${host}/${port} && echo connected) 2>&1 | grep -oE 'connected|unreachable|refused' | sort -u) ; echo $words`;
      };
      const script = `tail -n +3 /proc/net/dev | cut -d: -f1; ${['127.0.0.1:1', ...targets].map(reach).join('; ')}`;
      const words = stdout(await sh(fleet, script))
        .split(/\s+/)
        .filter(Boolean);
      const interfaces = words.slice(0, words.indexOf('refused'));
      // What every new namespace has on a kernel with those modules: tunnels that lead nowhere.
      assert.deepEqual(
        interfaces.filter((name) => !/^(tunl|gre|gretap|erspan|ip_vti|ip6_vti|sit|ip6tnl|ip6gre)\d/.test(name)),
        ['lo'],
      );
      assert.deepEqual(
        words.slice(words.indexOf('refused') + 1),
        targets.map(() => 'unreachable'),
        words.join(' '),
      );
      const connected = bed
        .on('h2', ['bash', '-c', targets.map(reach).join('; ')])
        .stdout.trim()
        .split('\n');
      assert.deepEqual(
        connected,
        targets.map(() => 'connected'),
        'where there is a network, they are reached',
      );
    });

    it('the secret is gone, and neither it nor what the supervisor was told is seen', async () => {
      const result = await sh(
        fleet,
        `cat /run/secrets/katafleet; env; cat /proc/1/environ /proc/1/cmdline | tr '\\0' '\\n' | grep -aE 'KATAFLEET|dial|:[0-9]'; grep -c run/secrets /proc/self/mountinfo`,
      );
      assert.match(stdout(result), /^0$/m);
      assert.match(stderr(result), /environ: Permission denied/);
      assert.doesNotMatch(stdout(result), /KATAFLEET|DOCKER|HOSTNAME|dial|:\d/);
    });

    it('no capability, no way to get any, and nothing of the supervisor’s', async () => {
      const result = await sh(
        fleet,
        `id; grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status; grep -E '^Cap(Eff|Prm|Bnd)' /proc/1/status; ls -l /proc/self/fd | grep -c socket; ls /proc/1/fd; chown 0 .; mknod x c 1 3; mount -t tmpfs none /mnt; nsenter -t 1 -n true; kill -9 1`,
      );
      const [text, words] = [stdout(result), stderr(result)];
      assert.match(withoutUid(text.replace('uid=', '')), /^UID\(sandbox\) gid=51966\(sandbox\) groups=51966\(sandbox\)\n/);
      const own = text.slice(0, text.indexOf('Seccomp'));
      assert.equal(own.match(/^Cap\w+:\t0+$/gm)?.length, 5, text);
      assert.match(text, /NoNewPrivs:\t1/);
      // Once it is open to a run the supervisor itself can neither mount nor change a network.
      const supervisor = [...text.matchAll(/^Cap(?:Eff|Prm|Bnd):\t([0-9a-f]+)$/gm)].slice(3).map(([, set = '']) => BigInt(`0x${set}`));
      assert.equal(supervisor.length, 3, text);
      for (const set of supervisor) assert.equal(set & ((1n << 21n) | (1n << 12n)), 0n, text);
      assert.match(words, /chown: .*not permitted[^]*mknod: .*not permitted[^]*mount: [^]*nsenter: [^]*kill: .*not permitted/);
    });

    it('the kernel gives it no more than 64 pseudo terminals', async () => {
      assert.match(
        stdout(await sh(fleet, 'grep " /dev/pts " /proc/mounts; script -qc "echo in one" /dev/null')),
        /,max=64 [^\n]*\nin one\r\n$/,
      );
    });

    it('writes go to /sandbox and /tmp, nowhere else', async () => {
      const result = await sh(
        fleet,
        `for dir in $(awk '{print $2}' /proc/mounts | sort -u); do case $dir in /proc*|/sys*) ;; *) test -d "$dir" && touch "$dir/probe" 2>/dev/null && echo "wrote $dir" ;; esac; done`,
      );
      const wrote = stdout(result)
        .split('\n')
        .filter((line) => line !== '' && !line.startsWith('wrote /dev/'));
      assert.deepEqual(wrote.sort(), ['wrote /sandbox', 'wrote /tmp']);
    });
  });

  describe('closed', () => {
    it('leaves nothing in the swarm', async () => {
      await fleet.close();
      await assertGone(bed);
      assert.equal(await bed.docker('h1', 'service', 'ls', '--quiet'), '', 'nor has the contract’s driver');
    });
  });
});
