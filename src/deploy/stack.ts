import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { z } from 'zod';
import { inPackage } from '../base/package-folder.ts';
import { KatafleetError, messageOf } from '../model/errors.ts';
import { faultsOf } from '../model/faults.ts';
import { parseBytes, parseDuration } from '../model/quantity.ts';
import { interpolate, type Variables } from './interpolate.ts';

/** How katafleet is deployed: by Compose on one engine, or as a service of a swarm. */
export type StackKind = 'compose' | 'swarm';

/**
 * The part of Compose's format that stacks/swarm.yaml uses. Any other key is an error: the Docker command would act on it and katafleet
 * would not, and both must deploy the same.
 */

/** A text or a number, read by a parser of the model. */
const inWords = (parsed: (text: string) => number) =>
  z.union([z.string(), z.number()]).transform((given, context): number => {
    try {
      return parsed(String(given));
    } catch (error) {
      context.addIssue({ code: 'custom', message: messageOf(error) });
      return z.NEVER;
    }
  });
/** Bytes, from text such as 512M. */
const size = inWords(parseBytes);
/** Nanoseconds, as the Engine API counts time, from text such as 10s. */
const nanoseconds = inWords((text) => parseDuration(text) * 1_000_000);
/** 0 means no limit. */
const nanoCpus = z.coerce
  .number()
  .min(0)
  .transform((cpus) => Math.round(cpus * 1e9));
const port = z.coerce.number().int().min(1).max(65_535);
const Labels = z.record(z.string(), z.string()).default({});
const File = z.strictObject({ source: z.string(), target: z.string(), uid: z.string(), gid: z.string(), mode: z.int() });
const Order = z.enum(['stop-first', 'start-first']);

const Mount = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('volume'), source: z.string(), target: z.string() }),
  z.strictObject({
    type: z.literal('bind'),
    source: z.string().startsWith('/'),
    target: z.string(),
    read_only: z.boolean().default(false),
  }),
  z.strictObject({ type: z.literal('tmpfs'), target: z.string(), tmpfs: z.strictObject({ size }) }),
]);

const Deploy = z.strictObject({
  mode: z.literal('replicated'),
  replicas: z.int().min(0),
  endpoint_mode: z.enum(['dnsrr', 'vip']),
  labels: Labels,
  placement: z.strictObject({ constraints: z.array(z.string()) }),
  resources: z.strictObject({
    limits: z.strictObject({ cpus: nanoCpus, memory: size }),
    reservations: z.strictObject({ cpus: nanoCpus, memory: size }),
  }),
  restart_policy: z.strictObject({ condition: z.enum(['none', 'on-failure', 'any']), delay: nanoseconds }),
  update_config: z.strictObject({
    parallelism: z.int().min(0),
    order: Order,
    failure_action: z.enum(['pause', 'continue', 'rollback']),
    monitor: nanoseconds,
  }),
  rollback_config: z.strictObject({ parallelism: z.int().min(0), order: Order }),
});

const Service = z.strictObject({
  image: z.string().min(1),
  command: z.array(z.string()),
  init: z.boolean(),
  user: z.string(),
  read_only: z.boolean(),
  cap_drop: z.array(z.string()),
  environment: z.record(z.string(), z.string()),
  volumes: z.array(Mount),
  configs: z.array(File),
  secrets: z.array(File),
  networks: z.record(z.string(), z.strictObject({ aliases: z.array(z.string()).default([]) })),
  ports: z.array(z.strictObject({ target: port, published: port, protocol: z.enum(['tcp', 'udp']), mode: z.enum(['host', 'ingress']) })),
  healthcheck: z.strictObject({ interval: nanoseconds, timeout: nanoseconds, retries: z.int().min(1), start_period: nanoseconds }),
  stop_grace_period: nanoseconds,
  labels: Labels,
  deploy: Deploy,
});

const Network = z.strictObject({
  name: z.string().optional(),
  driver: z.literal('overlay'),
  internal: z.boolean().default(false),
  attachable: z.boolean().default(false),
  labels: Labels,
});

const Stack = z
  .strictObject({
    version: z.literal('3.8'),
    services: z.record(z.string(), Service),
    networks: z.record(z.string(), Network),
    volumes: z.record(z.string(), z.strictObject({ name: z.string(), labels: Labels })),
    configs: z.record(z.string(), z.strictObject({ name: z.string(), file: z.string(), labels: Labels })),
    secrets: z.record(z.string(), z.strictObject({ name: z.string(), external: z.literal(true) })),
  })
  .superRefine((stack, context) => {
    for (const [name, service] of Object.entries(stack.services)) {
      const used = {
        networks: Object.keys(service.networks),
        volumes: service.volumes.flatMap((mount) => (mount.type === 'volume' ? [mount.source] : [])),
        configs: service.configs.map(({ source }) => source),
        secrets: service.secrets.map(({ source }) => source),
      };
      for (const [kind, names] of Object.entries(used) as [keyof typeof used, string[]][]) {
        for (const one of names.filter((wanted) => !Object.hasOwn(stack[kind], wanted)))
          context.addIssue({ code: 'custom', message: `the stack has no ${one}`, path: ['services', name, kind] });
      }
      if (service.deploy.endpoint_mode === 'dnsrr' && service.ports.some(({ mode }) => mode === 'ingress')) {
        const path = ['services', name, 'deploy', 'endpoint_mode'];
        context.addIssue({ code: 'custom', message: 'ports in the mesh (ingress) need vip, got dnsrr', path });
      }
    }
  });
export type Stack = z.output<typeof Stack>;
export type StackService = z.output<typeof Service>;

/** Returns the path of a file of the stacks. */
export const stackFile = (name: 'swarm.yaml' | 'compose.yaml' | 'katafleet.swarm.yaml' | 'katafleet.compose.yaml'): string =>
  inPackage(`stacks/${name}`);

/** Returns stacks/swarm.yaml with its variables filled in. @throws config.invalid */
export function readStack(variables: Variables, file = stackFile('swarm.yaml')): Stack {
  return parseStack(readFileSync(file, 'utf8'), variables, file);
}

/** Returns a stack from its YAML. @throws config.invalid with a line for each fault */
export function parseStack(text: string, variables: Variables, file: string): Stack {
  let read: unknown;
  try {
    read = parse(text, { version: '1.1' }); // version 1.1, like Docker: file modes are octal
  } catch (cause) {
    throw new KatafleetError('config.invalid', `${file}: ${messageOf(cause)}`, { cause });
  }
  const parsed = Stack.safeParse(interpolate(read, variables));
  if (parsed.success) return parsed.data;
  throw new KatafleetError('config.invalid', `${file}: ${faultsOf(parsed.error)}`);
}
