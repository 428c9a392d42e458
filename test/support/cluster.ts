import fc from 'fast-check';
import { MiB } from '../../src/base/units.ts';
import type { HealthState } from '../../src/model/node.ts';
import { Cluster } from '../../src/scheduler/place/cluster.ts';
import type { NodeFacts } from '../../src/scheduler/place/cluster-node.ts';
import type { Policy, Wanted } from '../../src/scheduler/place/placement.ts';

const idleMemory = 16 * MiB;

export function facts(name: string, more: Partial<NodeFacts> = {}): NodeFacts {
  return {
    name,
    probed: true,
    architecture: 'amd64',
    labels: {},
    cpus: 4,
    memory: 4096 * MiB,
    total: 4608 * MiB,
    driver: 'engine',
    networks: ['rsync', 'profile'],
    severalMachines: false,
    memoryLimits: 'enforced',
    canObtain: true,
    ...more,
  };
}

/** A ready node with the images `a` and `b`. */
export function addNode(cluster: Cluster, name: string, more: Partial<NodeFacts> = {}, images: readonly string[] = ['a', 'b']): void {
  cluster.setNode(facts(name, more));
  cluster.setHealth(name, 'ready');
  cluster.setImages(name, images);
}

export function wanted(more: Partial<Wanted> = {}): Wanted {
  return { image: 'a', pool: 'a', memory: 512 * MiB, cpus: 1, idleMemory, constraints: [], ...more };
}

/** A node of any kind, in any state. Sizes are in MiB. */
interface Described {
  architecture: 'amd64' | 'arm64';
  zone: string;
  memory: number;
  booked: number;
  health: HealthState;
  cordoned: boolean;
  probed: boolean;
  limits: NodeFacts['memoryLimits'];
  canObtain: boolean;
  cpus: number;
  images: string[];
  idle: number;
  heldFor: string | undefined;
  /** Memory of a swarm's largest machine in use, and of all its machines. */
  machines: { largest: number; ofAll: number } | undefined;
}

const mostly = <T>(usual: T, ...rare: T[]) =>
  fc.oneof({ weight: 9, arbitrary: fc.constant(usual) }, { weight: 1, arbitrary: fc.constantFrom(usual, ...rare) });

const anyNode: fc.Arbitrary<Described> = fc.record({
  architecture: fc.constantFrom('amd64', 'arm64'),
  zone: fc.constantFrom('', 'north', 'south'),
  memory: fc.constantFrom(0, 256, 512, 1024, 4096),
  booked: fc.constantFrom(0, 0, 16, 100, 496, 512, 1000, 4096),
  health: mostly<HealthState>('ready', 'probing', 'suspect', 'down', 'unusable'),
  cordoned: mostly(false, true),
  probed: mostly(true, false),
  limits: mostly<NodeFacts['memoryLimits']>('enforced', 'waived', 'missing'),
  canObtain: fc.boolean(),
  cpus: fc.constantFrom(1, 2, 8),
  images: fc.subarray(['a', 'b']),
  idle: fc.constantFrom(0, 0, 1, 3),
  heldFor: mostly<string | undefined>(undefined, 'me', 'another'),
  machines: fc.oneof(
    { weight: 4, arbitrary: fc.constant(undefined) },
    { weight: 1, arbitrary: fc.record({ largest: fc.constantFrom(0, 128, 512), ofAll: fc.constantFrom(512, 1024, 8192) }) },
  ),
});

export const nodeName = (index: number): string => `n${String(index).padStart(4, '0')}`;

function build(nodes: readonly Described[]): Cluster {
  const cluster = new Cluster();
  for (const [index, node] of nodes.entries()) {
    const name = nodeName(index);
    const { architecture, zone, memory, probed, limits, canObtain, cpus, machines } = node;
    cluster.setNode(
      facts(name, {
        architecture,
        labels: zone === '' ? {} : { zone },
        memory: memory * MiB,
        probed,
        memoryLimits: limits,
        canObtain,
        cpus,
        ...(machines
          ? {
              largest: { memory: machines.largest * MiB, cpus: 1 },
              largestOfAll: { memory: machines.ofAll * MiB, cpus: machines.ofAll > 1024 ? 4 : 1 },
            }
          : {}),
      }),
    );
    cluster.setHealth(name, node.health);
    if (node.cordoned) cluster.setCordoned(name, true);
    cluster.setImages(name, node.images);
    cluster.reserve(name, node.booked * MiB);
    if (node.idle > 0 && node.images.includes('a')) cluster.setIdle(name, 'a', node.idle);
    if (node.heldFor !== undefined && cluster.heldNode(node.heldFor) === undefined) cluster.hold(name, node.heldFor);
  }
  return cluster;
}

/** Arbitrary fleets with a number of nodes in these bounds. A failure shows the description. */
export const anyCluster = (minLength: number, maxLength: number): fc.Arbitrary<() => Cluster> =>
  fc
    .array(anyNode, { minLength, maxLength, size: 'max' })
    .map((nodes) => Object.assign(() => build(nodes), { toString: () => JSON.stringify(nodes) }));

export const anyWanted = (nodes: number): fc.Arbitrary<Wanted> =>
  fc
    .record(
      {
        image: fc.constantFrom('a', 'a', 'b', 'absent'),
        memory: fc.constantFrom(16, 128, 512, 1000, 4096, 5000).map((size) => size * MiB),
        cpus: fc.constantFrom(0.5, 1, 4),
        constraints: fc.subarray(['zone==north', 'zone!=south', 'zone==', 'rack==none'], { maxLength: 1 }),
        architecture: fc.constantFrom('amd64' as const, 'arm64' as const),
        avoid: fc.array(fc.nat(nodes).map(nodeName), { maxLength: 3 }).map((names) => new Set(names)),
        id: fc.constant('me'),
      },
      { requiredKeys: ['image', 'memory', 'cpus', 'constraints'] },
    )
    .map(({ image, ...more }) => wanted({ ...more, image, pool: image }));

export const anyPolicy: fc.Arbitrary<Policy> = fc.constantFrom<Policy>({ pack: 'spread' }, { pack: 'binpack' });
