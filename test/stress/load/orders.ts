import { randomUUID } from 'node:crypto';

/** One request of a storm's load. */
export interface Order {
  key: string;
  nonce: string;
  /** How long the client's first request waits for the run's end, s; 0 answers at once. */
  waitS: number;
  /** Whether the client sends it again until it is acknowledged, and waits for its end. If not, it sends it once and leaves. */
  insists: boolean;
  body: object;
  /** The only node that may execute it, if there is one. */
  node?: string;
  /** An image that this node must get first. */
  copied?: string;
}

/** What a program does beside what all do, and how often each kind comes, of 100. None is so short that /proc does not show it. */
const kinds = [
  { share: 40, script: 'sleep 0.1' },
  { share: 25, script: 'sleep 0.3' },
  { share: 15, script: 'sleep 1.5' },
  // Many files take long to collect.
  { share: 20, script: 'sleep 0.1; mkdir many; cd many; for ((i = 0; i < 900; i += 1)); do echo $i > $i; done' },
] as const;

/** Runs of one tenant. The API lists at most 1,000 runs at once. */
const perTenant = 500;

export const tenantOf = (index: number): string => `t${Math.floor(index / perTenant)}`;

export interface OrdersOptions {
  random: () => number;
  /** Sets a run apart: further fields of its request, and the node that they demand. */
  more?: (random: () => number) => Pick<Order, 'body' | 'node' | 'copied'>;
  /** Share of the orders that are sent once only. */
  leaves: number;
  /** Share of the orders whose first request waits for the end. */
  waits: number;
}

/**
 * An endless row of requests. Each program prints its nonce, which it reads from a file, and the number of its execution, and writes the
 * nonce to a file. The nonce is also its last argument, so that /proc shows whose program a process is.
 */
export function* orders({ random, more = () => ({ body: {} }), leaves, waits }: OrdersOptions): Generator<Order, never> {
  const series = randomUUID().slice(0, 8);
  for (let index = 0; ; index += 1) {
    const nonce = `nonce-${series}-${index}`;
    let at = random() * 100;
    const kind = kinds.find(({ share }) => (at -= share) < 0) ?? kinds[0];
    const script = `read -r given < in.txt; read -r execution < /proc/sys/kernel/random/uuid; echo "$given $execution"; echo "$given" > out.txt; ${kind.script}; exit 0`;
    const insists = random() >= leaves;
    const waitS = random() < waits ? 20 : 0;
    const { body, ...apart } = more(random);
    yield {
      ...apart,
      key: `key-${series}-${index}`,
      nonce,
      insists,
      waitS,
      body: {
        image: 'build-essential',
        profile: 'small',
        tenant: tenantOf(index),
        files: { 'in.txt': `${nonce}\n` },
        command: ['bash', '-c', script, nonce],
        ...body,
      },
    };
  }
}
