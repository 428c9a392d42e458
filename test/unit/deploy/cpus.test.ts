import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import type Dockerode from 'dockerode';
import { cpuLimit, mayGetIt, type SwarmNodeCpus, usualCpus } from '../../../src/deploy/cpus.ts';
import { readStack, stackFile } from '../../../src/deploy/stack.ts';
import { taskHint } from '../../../src/deploy/task-words.ts';

const node = (name: string, cpus: number, role = 'manager', labels: Record<string, string> = {}): SwarmNodeCpus => ({
  ID: `id-${name}`,
  Spec: { Role: role, Labels: labels },
  Description: {
    Hostname: name,
    Platform: { OS: 'linux', Architecture: 'x86_64' },
    Resources: { NanoCPUs: cpus * 1e9 },
    Engine: { Labels: { disk: 'ssd' } },
  },
});
const engine = (cpus: number, nodes: SwarmNodeCpus[] = []) =>
  ({ info: () => Promise.resolve({ NCPU: cpus }), listNodes: () => Promise.resolve(nodes) }) as unknown as Dockerode;

describe('the limit of CPUs that deploy sets', () => {
  it('is two, and no more than the host has', async () => {
    assert.equal(await usualCpus(engine(1), 'compose', undefined), '1');
    assert.equal(await usualCpus(engine(2), 'compose', undefined), '2');
    assert.equal(await usualCpus(engine(64), 'compose', undefined), '2');
    assert.equal(cpuLimit([]), '2');
  });

  it("is no more than the smallest of a swarm's nodes has that may get the task", async () => {
    const nodes = [node('m1', 8), node('m2', 1), node('w1', 1, 'worker')];
    assert.equal(await usualCpus(engine(8, nodes), 'swarm', undefined), '1');
    assert.equal(await usualCpus(engine(8, nodes), 'swarm', ''), '1');
    assert.equal(await usualCpus(engine(8, nodes), 'swarm', 'node.hostname == m1'), '2');
    assert.equal(await usualCpus(engine(8, nodes), 'swarm', 'node.hostname!=m2'), '2');
    assert.equal(await usualCpus(engine(8, nodes), 'swarm', 'what nobody can read'), '1');
  });

  it('knows what a constraint may name', () => {
    const one = node('m1', 1, 'manager', { zone: 'a' });
    const told: [string, boolean][] = [
      ['node.id == id-m1', true],
      ['node.id == other', false],
      ['node.role == manager', true],
      ['node.platform.os == Linux', true],
      ['node.platform.os == windows', false],
      ['node.platform.arch != x86_64', false],
      ['node.labels.zone == a', true],
      ['node.labels.none == a', false],
      ['node.labels.none != a', true],
      ['engine.labels.disk == ssd', true],
      ['node.ip == 10.0.0.0/8', true], // not told apart: a smaller limit does no harm
    ];
    for (const [constraint, expected] of told) assert.equal(mayGetIt(one, constraint), expected, constraint);
    assert.equal(mayGetIt(node('w1', 1, 'worker'), 'node.id == id-w1'), false);
  });

  it('is none in the stacks themselves, which any host can take, and one that is too high is told with the variable', () => {
    assert.equal(readStack({}).services['katafleet']?.deploy.resources.limits.cpus, 0);
    assert.equal(readStack({ KATAFLEET_CPUS: '0.5' }).services['katafleet']?.deploy.resources.limits.cpus, 500_000_000);
    assert.match(readFileSync(stackFile('compose.yaml'), 'utf8'), /^ {4}cpus: \$\{KATAFLEET_CPUS:-0\}$/m);
    const Err = 'Error response from daemon: Range of CPUs is from 0.01 to 1.00, as there are only 1 CPUs available';
    const hint = taskHint({ ID: 't', CreatedAt: '', DesiredState: 'running', Status: { State: 'rejected', Err } });
    assert.match(hint ?? '', /KATAFLEET_CPUS/);
  });
});
