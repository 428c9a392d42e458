import { randomBytes } from 'node:crypto';
import type Dockerode from 'dockerode';
import { KatafleetError, messageOf } from '../model/errors.ts';
import { labels } from '../model/labels.ts';
import { isStatus } from '../drivers/docker/errors.ts';
import { deployedLabel, networkSpecs, serviceName, serviceSpec, stackLabels } from './spec.ts';
import type { Stack } from './stack.ts';
import { untilHealthy } from './watch.ts';

export interface SwarmDeployment {
  docker: Dockerode;
  /** The stack's name, which its objects' names begin with. */
  name: string;
  stack: Stack;
  /** An id or a digest, so that no registry is asked for an image that is there. */
  image: string;
  /** The text of each config, by its key in the stack. */
  configs: Readonly<Record<string, string>>;
  timeoutMs: number;
  /** Called with a line for each step. */
  say: (line: string) => void;
}

/** Length of a new key (bytes). */
const keyBytes = 32;
const service = 'katafleet';

/**
 * Creates or updates a stack's objects through a manager, and waits until the service is healthy. Resolves with the node that it runs
 * on.
 * @throws deploy.failed
 */
export async function deploySwarm(deployment: SwarmDeployment): Promise<{ address: string; node: string }> {
  const { docker, name, stack, image, say } = deployment;
  const ids = { networks: await networks(deployment), configs: await configs(deployment), secrets: await secrets(deployment) };
  const spec = serviceSpec(name, service, stack, image, ids);
  const there = find(await docker.listServices({ filters: { name: [spec.Name] } }), ({ Spec }) => Spec?.Name, spec.Name);
  const former = there ? await docker.listTasks({ filters: { service: [there.ID] } }) : [];
  if (there) {
    const found = docker.getService(there.ID);
    await found.update({ version: Number(there.Version?.Index), ...spec });
    say(`service ${spec.Name}: updated`);
  } else {
    await docker.createService(spec);
    say(`service ${spec.Name}: created`);
  }
  const hash = (spec.TaskTemplate as { ContainerSpec: { Labels: Record<string, string> } }).ContainerSpec.Labels[deployedLabel] ?? '';
  try {
    const known = new Set((former as { ID: string }[]).map(({ ID }) => ID));
    return await untilHealthy({ docker, name: serviceName(name, service), hash, known, timeoutMs: deployment.timeoutMs, say });
  } finally {
    await removeUnused(deployment, new RegExp(`^${escape(name)}_config_[0-9A-Za-z]+$`));
  }
}

const escape = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');

/** Returns the object of exactly this name. The engine's filters match the beginning of a name. */
function find<T>(found: readonly T[], nameOf: (one: T) => string | undefined, name: string): T | undefined {
  return found.find((one) => nameOf(one) === name);
}

async function networks({ docker, name, stack, say }: SwarmDeployment): Promise<Map<string, string>> {
  const ids = new Map<string, string>();
  for (const [key, spec] of networkSpecs(name, stack)) {
    const there = find(await docker.listNetworks({ filters: { name: [spec.Name] } }), ({ Name }) => Name, spec.Name);
    const own = (there?.Labels as Record<string, string> | undefined)?.[labels.stack];
    if (there && own !== name) {
      throw new KatafleetError('deploy.failed', `the network ${spec.Name} exists already and does not belong to the stack ${name}`, {
        hint: 'choose another name with --name, or remove that network',
      });
    }
    const id = there?.Id ?? (await docker.createNetwork(spec)).id;
    if (!there) say(`network ${spec.Name}: created`);
    ids.set(key, id);
  }
  return ids;
}

async function configs({ docker, name, stack, configs: texts, say }: SwarmDeployment): Promise<Map<string, string>> {
  const ids = new Map<string, string>();
  for (const [key, config] of Object.entries(stack.configs)) {
    const there = find(await docker.listConfigs({ filters: { name: [config.name] } }), ({ Spec }) => Spec?.Name, config.name);
    if (there) {
      ids.set(key, there.ID);
      continue;
    }
    const spec = {
      Name: config.name,
      Labels: { ...config.labels, [stackLabels.namespace]: name },
      Data: Buffer.from(texts[key] ?? '').toString('base64'),
    };
    // The answer has `id`; dockerode's types are wrong here.
    ids.set(key, ((await docker.createConfig(spec)) as unknown as { id: string }).id);
    say(`config ${config.name}: created`);
  }
  return ids;
}

/** Creates the missing secrets. A secret cannot be read back, so an existing one stays. */
async function secrets({ docker, name, stack, say }: SwarmDeployment): Promise<Map<string, string>> {
  const ids = new Map<string, string>();
  for (const [key, secret] of Object.entries(stack.secrets)) {
    const there = find(await docker.listSecrets({ filters: { name: [secret.name] } }), ({ Spec }) => Spec?.Name, secret.name);
    if (there) {
      ids.set(key, there.ID);
      continue;
    }
    const made: unknown = await docker.createSecret({
      Name: secret.name,
      Labels: { [labels.role]: 'secret', [labels.stack]: name },
      Data: randomBytes(keyBytes).toString('base64'),
    });
    ids.set(key, (made as { id: string }).id);
    say(`secret ${secret.name}: created from ${keyBytes} random bytes`);
  }
  return ids;
}

/** Removes configs of earlier deployments and of rolled-back ones, which no service uses. */
async function removeUnused({ docker, name, say }: SwarmDeployment, own: RegExp): Promise<void> {
  for (const { ID, Spec } of await docker.listConfigs({ filters: { label: [`${labels.stack}=${name}`] } })) {
    if (!own.test(Spec?.Name ?? '')) continue;
    try {
      await docker.getConfig(ID).remove();
      say(`config ${Spec?.Name ?? ID}: removed, because no service uses it`);
    } catch (error) {
      if (!isStatus(error, 400, 404, 409)) throw error; // those are in use
      if (!/in use|not found/i.test(messageOf(error))) throw error;
    }
  }
}
