import assert from 'node:assert/strict';
import fc from 'fast-check';
import { KatafleetError } from '../../../src/model/errors.ts';
import type { HealthState } from '../../../src/model/node.ts';
import { Cluster } from '../../../src/scheduler/place/cluster.ts';
import { addNode, facts } from '../../support/cluster.ts';

const names = ['one', 'two', 'three', 'four'];
const images = ['a', 'b', 'c'];
const name = fc.constantFrom(...names);

const step = fc.oneof(
  fc.record({
    do: fc.constant('set' as const),
    name,
    memory: fc.constantFrom(0, 8, 16),
    zone: fc.constantFrom('north', 'south'),
    arm: fc.boolean(),
  }),
  fc.record({ do: fc.constant('remove' as const), name }),
  fc.record({
    do: fc.constant('health' as const),
    name,
    health: fc.constantFrom<HealthState>('probing', 'ready', 'ready', 'suspect', 'down', 'unusable'),
  }),
  fc.record({ do: fc.constant('cordon' as const), name, on: fc.boolean() }),
  fc.record({ do: fc.constant('images' as const), name, images: fc.subarray(images) }),
  fc.record({ do: fc.constant('idle' as const), name, pool: fc.constantFrom('p', 'q'), count: fc.nat(3) }),
  fc.record({ do: fc.constant('reserve' as const), name, bytes: fc.nat(10) }),
  fc.record({ do: fc.constant('release' as const), name, bytes: fc.nat(10) }),
  fc.record({ do: fc.constant('hold' as const), name, id: fc.constantFrom('x', 'y', 'z') }),
  fc.record({ do: fc.constant('unhold' as const), id: fc.constantFrom('x', 'y', 'z') }),
);
type Step = typeof step extends fc.Arbitrary<infer S> ? S : never;

/** A node as a person would keep its books. */
interface Plain {
  memory: number;
  zone: string;
  arm: boolean;
  health: HealthState;
  cordoned: boolean;
  booked: number;
  images: string[];
  idle: Map<string, number>;
  heldFor: string | undefined;
}

function apply(cluster: Cluster, model: Map<string, Plain>, todo: Step): void {
  if (todo.do === 'unhold') {
    cluster.unhold(todo.id);
    for (const node of model.values()) if (node.heldFor === todo.id) node.heldFor = undefined;
    return;
  }
  const node = model.get(todo.name);
  if (todo.do === 'set') {
    const { memory, zone, arm } = todo;
    cluster.setNode(facts(todo.name, { memory, labels: { zone }, architecture: arm ? 'arm64' : 'amd64' }));
    const fresh = {
      health: 'probing' as const,
      cordoned: false,
      booked: 0,
      images: [],
      idle: new Map<string, number>(),
      heldFor: undefined,
    };
    model.set(todo.name, { ...(node ?? fresh), memory, zone, arm });
    return;
  }
  if (!node) {
    if (todo.do === 'remove') cluster.removeNode(todo.name);
    else if (todo.do === 'release')
      cluster.release(todo.name, todo.bytes); // of a node that was taken out: no error
    else assert.throws(() => cluster.setHealth(todo.name, 'ready'), KatafleetError);
    return;
  }
  switch (todo.do) {
    case 'remove':
      cluster.removeNode(todo.name);
      model.delete(todo.name);
      break;
    case 'health':
      cluster.setHealth(todo.name, todo.health, 'as told');
      node.health = todo.health;
      break;
    case 'cordon':
      cluster.setCordoned(todo.name, todo.on);
      node.cordoned = todo.on;
      break;
    case 'images':
      cluster.setImages(todo.name, todo.images);
      node.images = todo.images;
      break;
    case 'idle':
      cluster.setIdle(todo.name, todo.pool, todo.count);
      node.idle.set(todo.pool, todo.count);
      break;
    case 'reserve': {
      const fits = todo.bytes <= node.memory - node.booked;
      assert.equal(cluster.reserve(todo.name, todo.bytes), fits);
      if (fits) node.booked += todo.bytes;
      break;
    }
    case 'release':
      if (todo.bytes > node.booked) {
        assert.throws(() => cluster.release(todo.name, todo.bytes), /were booked/);
      } else {
        cluster.release(todo.name, todo.bytes);
        node.booked -= todo.bytes;
      }
      break;
    case 'hold':
      for (const other of model.values()) if (other.heldFor === todo.id) other.heldFor = undefined;
      cluster.hold(todo.name, todo.id);
      node.heldFor = todo.id;
  }
}

const sorted = (items: Iterable<string>) => [...items].sort();

function compare(cluster: Cluster, model: Map<string, Plain>): void {
  const named = (slots: Iterable<number>) => sorted(Array.from(slots, (slot) => cluster.at(slot)?.facts.name ?? 'nobody'));
  const those = (holds: (node: Plain) => boolean) => sorted(Array.from(model).flatMap(([key, node]) => (holds(node) ? [key] : [])));
  assert.deepEqual(sorted(Array.from(cluster.nodes(), (node) => node.facts.name)), sorted(model.keys()));
  assert.equal(cluster.size, model.size);
  for (const [key, { memory, booked, health, heldFor, idle }] of model) {
    const node = cluster.node(key);
    assert.ok(node);
    const sum = Array.from(idle.values()).reduce((total, count) => total + count, 0);
    assert.deepEqual(
      [node.memory, node.booked, node.free, node.health, node.heldFor, node.idle],
      [memory, booked, memory - booked, health, heldFor, sum],
    );
  }
  const open = those((node) => node.health === 'ready' && !node.cordoned && node.heldFor === undefined && node.memory >= node.booked);
  assert.deepEqual(named(cluster.tree.leastLoaded(0)), open);
  assert.deepEqual(named(cluster.order.from(0)), open);
  for (const image of images) {
    assert.deepEqual(
      named(cluster.withImage(image)),
      those((node) => node.images.includes(image)),
    );
    for (const arm of [false, true]) {
      const holders = those((node) => node.arm === arm && node.images.includes(image));
      const ready = holders.filter((key) => model.get(key)?.health === 'ready');
      assert.deepEqual(cluster.copies(image, arm ? 'arm64' : 'amd64'), { all: holders.length, ready: ready.length });
    }
  }
  for (const zone of ['north', 'south'])
    assert.deepEqual(
      named(cluster.withLabel('zone', zone)),
      those((node) => node.zone === zone),
    );
  for (const pool of ['p', 'q'])
    assert.deepEqual(
      named(cluster.withIdle(pool)),
      those((node) => (node.idle.get(pool) ?? 0) > 0),
    );
  for (const id of ['x', 'y', 'z'])
    assert.deepEqual(
      [cluster.heldNode(id)?.facts.name ?? []].flat(),
      those((node) => node.heldFor === id),
    );
  assert.equal(cluster.holds, those((node) => node.heldFor !== undefined).length);
  assert.equal(cluster.probing, those((node) => node.health === 'probing').length > 0);
}

describe('scheduler: the books of the fleet', () => {
  it('after any sequence they are those that a person would keep, and nothing is overbooked', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60, size: 'max' }), (todo) => {
        const cluster = new Cluster();
        const model = new Map<string, Plain>();
        for (const one of todo) {
          apply(cluster, model, one);
          compare(cluster, model);
        }
      }),
      { numRuns: 300 },
    );
  });

  it('load and health do not make it look anew whether a run can ever be taken, but what nodes are and have does', () => {
    const cluster = new Cluster();
    addNode(cluster, 'one');
    const { limits } = cluster;
    cluster.reserve('one', 5);
    cluster.release('one', 5);
    cluster.setIdle('one', 'p', 2);
    cluster.setHealth('one', 'ready', 'still');
    cluster.setImages('one', ['b', 'a']);
    cluster.setHealth('one', 'suspect');
    cluster.setHealth('one', 'down');
    cluster.setCordoned('one', true);
    assert.equal(cluster.limits, limits);
    for (const change of [
      () => cluster.setHealth('one', 'unusable'),
      () => cluster.setHealth('one', 'probing'),
      () => cluster.setImages('one', ['a']),
      () => cluster.setNode(facts('one', { cpus: 9 })),
      () => cluster.removeNode('one'),
    ]) {
      const before = cluster.limits;
      change();
      assert.ok(cluster.limits > before);
    }
  });
});
