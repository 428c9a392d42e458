import { labels } from '../../src/model/labels.ts';
import type { NodeImage } from '../../src/drivers/contract.ts';
import { Fleet, type FleetOptions } from '../../src/fleet/fleet.ts';
import type { NodeSettings } from '../../src/fleet/node/settings.ts';
import { FakeDriver } from './fake-driver.ts';

export const MiB = 1024 ** 2;

/** Long enough that no look happens by itself, ms. */
const neverMs = 1e8;

export interface FakeFleetOptions extends Partial<Omit<FleetOptions, 'nodes'>> {
  /** Settings by node, instead of a plain node's. */
  settings?: Record<string, Partial<NodeSettings>>;
}

/** A fleet of nodes in memory. It looks at them only when the test asks for it. */
export function fakeFleet(names: readonly string[], { settings = {}, ...options }: FakeFleetOptions = {}) {
  const drivers = new Map(names.map((name) => [name, new FakeDriver(`fake://${name}`)]));
  const events: string[] = [];
  const troubles: string[] = [];
  const driver = (name: string) => {
    const found = drivers.get(name);
    if (!found) throw new Error(`no fake ${name}`);
    return found;
  };
  const fleet = new Fleet({
    nodes: names.map((name) => ({
      name,
      endpoint: `fake://${name}`,
      labels: {},
      driver: 'auto',
      reserve: { share: 0 },
      withoutMemoryLimits: false,
      cordoned: false,
      ...settings[name],
    })),
    connect: ({ name }) => driver(name),
    policy: { pack: 'spread' },
    idleMemory: 16 * MiB,
    copy: true,
    paceMs: 0,
    rules: { failures: 3, successes: 2, flapMs: 60_000, intervalMs: neverMs, timeoutMs: 50 },
    onEvent: (node, kind, detail) => events.push(`${node} ${kind}${detail === '' ? '' : `: ${detail}`}`),
    onTrouble: (message) => troubles.push(message),
    ...options,
  });
  return {
    fleet,
    driver,
    /** Makes the driver of the next node that is connected by this name. */
    addDriver: (name: string) => {
      const made = new FakeDriver(`fake://${name}`);
      drivers.set(name, made);
      return made;
    },
    events,
    troubles,
    /** Looks at a node this many times, one after another. */
    look: async (name: string, times = 1) => {
      for (let look = 0; look < times; look += 1) await fleet.node(name).check();
      return fleet.node(name).state;
    },
    summary: (name: string) => {
      const found = fleet.nodes().find((node) => node.name === name);
      if (!found) throw new Error(`no node ${name}`);
      return found;
    },
  };
}

export function imageOf(id: string, tags: string[], more: Partial<NodeImage> = {}): NodeImage {
  return { id: `sha256:${id}`, tags, digests: [], size: 1000, labels: {}, ...more };
}

/** An image made from one of our recipes. */
export const recipeImage = (id: string, tags: string[], recipe = 'gcc'): NodeImage =>
  imageOf(id, tags, { labels: { [labels.recipe]: recipe } });
