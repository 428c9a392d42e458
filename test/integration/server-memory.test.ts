import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { endpoint } from '../support/fleet.ts';
import { MemoryGroup } from '../support/memory-group.ts';
import { ApiError, Service } from '../support/service.ts';

const main = fileURLToPath(new URL('../../dist/main.js', import.meta.url));
const MiB = 1024 ** 2;
/** What Node takes for its heap in a group of 512 MiB, MiB: the bound where no group can be made. */
const heap = 272;

const served = (group: MemoryGroup | undefined, config: object) =>
  Service.start(config, [...(group?.command ?? []), process.execPath, ...(group ? [] : [`--max-old-space-size=${heap}`]), main]);

describe('a server in 512 MiB', () => {
  it('outlives ten requests of 40 MiB at once: what it has no room for is told to come back', async () => {
    await using group = MemoryGroup.make(512 * MiB);
    await using service = await served(group, { nodes: [{ name: 'none', endpoint: 'unix:///nonexistent/docker.sock' }] });
    const content = Buffer.alloc(40 * MiB, 7).toString('base64');
    const body = JSON.stringify({ image: 'x', command: ['true'], queueMs: 600_000, files: [{ path: 'f', content, encoding: 'base64' }] });
    const statuses = await Promise.all(
      Array.from({ length: 10 }, async () => {
        try {
          const response = await fetch(`${service.url}/v1/runs`, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
          await response.text();
          if (response.status >= 429) assert.ok(response.headers.get('retry-after'));
          return response.status;
        } catch (error) {
          assert.ok(error instanceof TypeError, String(error));
          return 0; // turned away while it was still sending
        }
      }),
    );
    assert.ok(
      statuses.every((status) => [0, 202, 429, 503].includes(status)),
      String(statuses),
    );
    assert.ok(statuses.includes(202), String(statuses));
    assert.deepEqual(await service.call('GET', '/health/live'), { live: true });
    if (group) assert.ok(group.lives);
  });

  it('outlives three results of 64 MiB at once, and hands all of them out as they were', async () => {
    await using group = MemoryGroup.make(512 * MiB);
    await using service = await served(group, { nodes: [{ name: 'local', endpoint }] });
    const script = 'for i in 1 2 3 4; do head -c 16777216 /dev/urandom > f$i; done; sha256sum f1 f2 f3 f4';
    const body = { image: 'katafleet/debian:bookworm', command: ['sh', '-c', script] };
    await Promise.all(
      [1, 2, 3].map(async () => {
        const { state, error, result } = await answered(service, body);
        assert.equal(state, 'finished', JSON.stringify(error));
        const sums = result?.changes.files.map(
          ({ path, content }) => `${createHash('sha256').update(Buffer.from(content, 'base64')).digest('hex')}  ${path}\n`,
        );
        assert.equal(sums?.length, 4);
        assert.equal(sums.sort((a, b) => a.slice(-3).localeCompare(b.slice(-3))).join(''), result?.steps[0]?.stdout);
      }),
    );
    assert.deepEqual(await service.call('GET', '/health/live'), { live: true });
    assert.ok(!service.log.includes('taken up again'));
    if (group) assert.ok(group.lives);
  });

  it('outlives ten runs at once that print 32 MiB to each stream: what it has no room for is cut', async () => {
    await using group = MemoryGroup.make(512 * MiB);
    await using service = await served(group, { nodes: [{ name: 'local', endpoint }] });
    const bytes = 32 * MiB;
    const print = `head -c ${bytes} /dev/zero | tr '\\0' x`;
    const body = {
      image: 'katafleet/debian:bookworm',
      command: ['sh', '-c', `${print} & ${print} >&2; wait; echo end`],
      profile: { memory: 64 * MiB, wallMs: 60_000, stdout: 64 * MiB, stderr: 64 * MiB },
    };
    const results = await Promise.all(Array.from({ length: 10 }, () => answered(service, body)));
    let kept = 0;
    for (const { state, error, result } of results) {
      assert.equal(state, 'finished', JSON.stringify(error));
      const [step] = result?.steps ?? [];
      assert.ok(step);
      assert.deepEqual(step.outcome, { kind: 'exited', code: 0 });
      assert.deepEqual([step.stdoutCut, step.stdoutBytes, step.stderrCut, step.stderrBytes], [true, bytes + 4, true, bytes]);
      assert.match(step.stdoutTail ?? '', /x{100}end\n$/);
      assert.ok(step.stdout.length + step.stderr.length >= 2 * MiB, 'what is free for each run');
      kept += step.stdout.length + step.stderr.length;
    }
    assert.ok(kept <= (10 * 2 + 32) * MiB, String(kept));
    assert.ok(!service.log.includes('taken up again'));
    if (group) assert.ok(group.lives);
  });
});

/** A run when it is over; one whose result has to wait for others' to be told is asked for again. */
async function answered(service: Service, body: object) {
  const { id } = await service.call<{ id: string }>('POST', '/v1/runs', body);
  for (;;) {
    try {
      return await service.ended(await service.call('GET', `/v1/runs/${id}?wait=60`));
    } catch (error) {
      if (!(error instanceof ApiError && error.status === 503)) throw error;
    }
  }
}
