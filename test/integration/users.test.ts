import assert from 'node:assert/strict';
import Dockerode from 'dockerode';
import type { Katafleet } from '../../src/app/library.ts';
import { defaultUids } from '../../src/model/users.ts';
import { EngineDriver } from '../../src/drivers/engine/driver.ts';
import { endpoint, sh, stdout, testFleet } from '../support/fleet.ts';
import { importScratch } from '../support/scratch.ts';

/** Takes every inotify instance that its user may have and says how many; holds them while its input is open. */
const hog = `cat >p.c <<'C'
#include <stdio.h>
#include <sys/inotify.h>
#include <unistd.h>
int main(void) {
  int n = 0;
  while (inotify_init1(0) >= 0) n++;
  printf("%d\\n", n);
  fflush(stdout);
  pause();
}
C
gcc p.c -o p && exec ./p`;

describe('users of sandboxes, in real containers', () => {
  let fleet: Katafleet;
  before(() => (fleet = testFleet()));
  after(() => fleet.close());

  it('one sandbox can’t use up another’s kernel limits, which count by user', async () => {
    const limits = { profile: { openFiles: 4_096 } };
    const counts: string[] = [];
    const cancels = [new AbortController(), new AbortController()];
    let told!: () => void;
    // The second begins when the first holds all that it can have.
    const full = new Promise<void>((resolve) => (told = resolve));
    const request = { image: 'build-essential', files: [], steps: [{ argv: ['bash', '-c', hog] }], ...limits };
    const first = fleet.run(request, {
      ...(cancels[0] ? { signal: cancels[0].signal } : {}),
      onOutput: (_step, _stream, bytes) => {
        counts.push(bytes.toString());
        told();
      },
    });
    await full;
    await fleet.run(request, {
      ...(cancels[1] ? { signal: cancels[1].signal } : {}),
      onOutput: (_step, _stream, bytes) => {
        counts.push(bytes.toString());
        cancels[1]?.abort();
      },
    });
    cancels[0]?.abort();
    await first;
    assert.equal(counts.length, 2);
    assert.ok(Number(counts[0]) > 0, counts.join());
    assert.equal(counts[1], counts[0]);
  });

  it('no two that live at once have the same uid, and a session keeps its own', async () => {
    const runs = await Promise.all(Array.from({ length: 4 }, () => sh(fleet, 'id -u; sleep 0.3')));
    const uids = runs.map((result) => Number(stdout(result)));
    assert.equal(new Set(uids).size, 4, uids.join());
    for (const uid of uids) assert.ok(uid >= defaultUids.first && uid < defaultUids.first + defaultUids.count, `${uid}`);
    const script = 'id -u; stat -c %u . given /sandbox/kept 2>/dev/null; touch kept';
    const files = [{ path: 'given', mode: 0o644, mtimeNs: 0n, content: Buffer.from('x') }];
    const [one, two] = [await sh(fleet, script, { session: 's', files }), await sh(fleet, script, { session: 's', files })];
    const uid = stdout(one).split('\n')[0] ?? '';
    assert.deepEqual([two.resumed, stdout(two)], [true, `${uid}\n`.repeat(4)]);
  });

  it('a configured range is kept to, and has names', async () => {
    await using other = testFleet({ uids: { first: 30_000, count: 1 } });
    assert.equal(stdout(await sh(other, 'id')), 'uid=30000(sandbox) gid=51966(sandbox) groups=51966(sandbox)\n');
  });

  it('an image made for cyber-dojo’s user keeps it', async () => {
    const docker = new Dockerode({ socketPath: endpoint.replace('unix://', '') });
    const image = 'katafleet-test/cyber-dojo';
    await importScratch(docker, image, { 'etc/passwd': 'sandbox:x:41966:51966::/home/sandbox:/bin/bash\n' });
    try {
      const files = [{ path: 'in', mode: 0o644, mtimeNs: 0n, content: Buffer.from('given') }];
      const request = { image, files, steps: [{ argv: ['/program'] }] };
      assert.equal(stdout(await fleet.run(request)), '41966 given\n');
      const driver = new EngineDriver({ endpoint });
      assert.deepEqual((await driver.prepare(image)).user, { uid: 41_966, gid: 51_966 });
      driver.close();
    } finally {
      await docker.getImage(image).remove({ force: true });
    }
  });
});
