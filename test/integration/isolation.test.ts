import assert from 'node:assert/strict';
import type { Katafleet } from '../../src/app/library.ts';
import { sh, stdout, testFleet, withoutUid } from '../support/fleet.ts';

describe('isolation, in real containers', () => {
  let fleet: Katafleet;
  before(() => (fleet = testFleet()));
  after(() => fleet.close());

  it('user code can’t reach the supervisor: descriptors, memory, tracing, signals', async () => {
    const result = await sh(
      fleet,
      `ls /proc/1/fd /proc/1/exe 2>&1; cat /proc/1/mem /proc/1/environ 2>&1; echo forged > /proc/1/fd/1; kill -9 1 2>&1; kill -STOP 1; echo alive; ls -l /proc/self/fd | grep -c pipe`,
    );
    assert.deepEqual(result.outcome, { kind: 'exited', code: 0 });
    assert.match(stdout(result), /cannot (open|read|access)|Permission denied/);
    assert.doesNotMatch(stdout(result), /^\d+$(?![\s\S])/);
    assert.match(stdout(result), /alive\n[123]\n$/);
  });

  it('a frame that user code prints is output and nothing else', async () => {
    const forged = String.raw`printf '\x86\x00\x00\x00\x01\x00\x8c\x00\x00\x00\x10'`;
    const result = await sh(fleet, `${forged}; ${forged} >&2; exit 5`);
    assert.deepEqual(
      [result.outcome, result.steps[0]?.stdout.length, result.steps[0]?.stderr.length],
      [{ kind: 'exited', code: 5 }, 11, 11],
    );
  });

  it('writes go to /sandbox, /tmp and /dev/shm, nowhere else, and the first two can execute', async () => {
    const result = await sh(
      fleet,
      `
      find / -xdev -mindepth 1 ! -path /sandbox ! -path /tmp -writable ! -type l ! -path '/proc/*' ! -path '/sys/*' 2>/dev/null
      for dir in $(awk '{print $2}' /proc/mounts | sort -u); do case $dir in /proc*|/sys*) ;; *) test -d "$dir" && touch "$dir/probe" 2>/dev/null && echo "wrote $dir" ;; esac; done
      for dir in /sandbox /tmp /dev/shm; do cp /bin/true $dir/t && $dir/t 2>/dev/null && echo "ran $dir"; done`,
    );
    const lines = stdout(result).split('\n').filter(Boolean).sort();
    assert.deepEqual(
      lines.filter((line) => !line.startsWith('/dev/')), // what find saw
      ['ran /sandbox', 'ran /tmp', 'wrote /dev/shm', 'wrote /sandbox', 'wrote /tmp'],
    );
  });

  it('no capability, no new privilege, another user, seccomp where the engine has it', async () => {
    const result = await sh(
      fleet,
      `id; grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status; unshare -Ur true 2>&1; mount -t tmpfs none /mnt 2>&1; chown 0 . 2>&1; mknod x c 1 3 2>&1`,
    );
    const text = stdout(result);
    assert.match(withoutUid(text.replace('uid=', '')), /^UID\(sandbox\) gid=51966\(sandbox\) groups=51966\(sandbox\)\n/);
    assert.equal(text.match(/^Cap\w+:\t0+$/gm)?.length, 5);
    assert.match(text, /NoNewPrivs:\t1/);
    if ((await fleet.driver.probe()).seccomp) assert.match(text, /Seccomp:\t2/);
    assert.match(text, /chown: .*not permitted/);
    assert.match(text, /mknod: .*not permitted/);
  });

  it('no network but its own loopback', async () => {
    const result = await sh(
      fleet,
      `tail -n +3 /proc/net/dev | cut -d: -f1; (exec 3<>/dev/tcp/127.0.0.1/1) 2>&1 | grep -o refused; (exec 3<>/dev/tcp/192.0.2.1/80) 2>&1 | grep -o unreachable`,
    );
    const words = stdout(result).split(/\s+/).filter(Boolean);
    assert.ok(words.includes('lo') && words.includes('refused') && words.includes('unreachable'), words.join());
    assert.ok(!words.some((word) => /^(eth|ens|veth)/.test(word)));
  });

  it('lists a file that is not plain as omitted', async () => {
    const result = await sh(
      fleet,
      `ln -s /etc/shadow absolute; ln -s ../etc/passwd relative; ln -s /proc/self/fd fds; mkfifo fifo; echo x > one; ln one two; perl -MSocket -e 'socket(S,AF_UNIX,SOCK_STREAM,0); bind(S,sockaddr_un("sock"))'`,
    );
    assert.deepEqual(Object.fromEntries(result.changes.omitted.map(({ path, reason }) => [path, reason])), {
      absolute: 'symlink',
      relative: 'symlink',
      fds: 'symlink',
      fifo: 'fifo',
      sock: 'socket',
    });
    assert.deepEqual(
      result.changes.files.map(({ path }) => path),
      ['one', 'two'],
      'a file of several names comes once for each',
    );
  });

  it('the environment holds the image’s variables and none of the engine’s', async () => {
    const names = stdout(await sh(fleet, 'env | cut -d= -f1'))
      .split('\n')
      .filter(Boolean);
    assert.ok(names.includes('CYBER_DOJO_SANDBOX') && names.includes('PATH'));
    assert.deepEqual(
      names.filter((name) => /KATAFLEET|DOCKER|HOSTNAME/.test(name)),
      [],
    );
  });

  it('sandboxes see nothing of each other', async () => {
    await sh(fleet, 'echo secret > /tmp/left; echo secret > left');
    assert.equal(stdout(await sh(fleet, 'ls -A /tmp /sandbox | grep -v :')).trim(), '');
  });
});
