import { setTimeout as sleep } from 'node:timers/promises';
import type Dockerode from 'dockerode';
import { z } from 'zod';
import { messageOf } from '../../../model/errors.ts';
import { isStatus } from '../../docker/errors.ts';

/** The fields of a service that are read. */
export const Service = z.object({
  ID: z.string(),
  Version: z.object({ Index: z.number() }),
  UpdatedAt: z.string().default(''),
  Spec: z.looseObject({
    Name: z.string(),
    Labels: z.record(z.string(), z.string()).nullish(),
    TaskTemplate: z.looseObject({ Networks: z.array(z.looseObject({ Target: z.string().default('') })).nullish() }),
    Mode: z.looseObject({ Replicated: z.object({ Replicas: z.number().default(0) }).nullish() }),
  }),
});
export type Service = z.output<typeof Service>;

/** Replicas of a service, for all katafleets that share it. */
export const replicasOf = ({ Mode }: Pick<Service['Spec'], 'Mode'>): number => Mode.Replicated?.Replicas ?? 0;

/** How long to wait for the last tasks on a network (ms). */
const networkMs = 10_000;

const Listed = z.array(z.object({ ID: z.string(), Spec: z.object({ Name: z.string() }) }));

/** Lists the secrets or configs with these labels. */
export async function listed(docker: Dockerode, what: 'secrets' | 'configs', of: string[]): Promise<z.output<typeof Listed>> {
  const options = { filters: { label: of } };
  return Listed.parse(await (what === 'secrets' ? docker.listSecrets(options) : docker.listConfigs(options)));
}

/** Returns the id of the secret or config with this name; creates it if it is missing. */
export async function findOrCreate(
  docker: Dockerode,
  what: 'secrets' | 'configs',
  name: string,
  own: Record<string, string>,
  bytes: Buffer,
): Promise<string> {
  const options = { filters: { name: [name] } };
  const find = async () => {
    const all = Listed.parse(await (what === 'secrets' ? docker.listSecrets(options) : docker.listConfigs(options)));
    return all.find(({ Spec }) => Spec.Name === name)?.ID;
  };
  const there = await find();
  if (there !== undefined) return there;
  // dockerode would also put the whole body into the URL.
  const body = { _query: {}, _body: { Name: name, Labels: own, Data: bytes.toString('base64') } };
  try {
    const { id } = (await (what === 'secrets' ? docker.createSecret(body) : docker.createConfig(body))) as { id: string };
    return id;
  } catch (error) {
    const meanwhile = isStatus(error, 409) ? await find() : undefined;
    if (meanwhile === undefined) throw error;
    return meanwhile;
  }
}

/** Returns the id of the internal overlay network with this name; creates it if it is missing. Internal: it has no way out. */
export async function findOrCreateOverlay(docker: Dockerode, name: string, own: Record<string, string>): Promise<string> {
  const find = async () => {
    const all = await docker.listNetworks({ filters: { name: [name], scope: ['swarm'] } });
    return all.find((network) => network.Name === name)?.Id;
  };
  const there = await find();
  if (there !== undefined) return there;
  const made = await docker.createNetwork({
    Name: name,
    Driver: 'overlay',
    Internal: true,
    Attachable: true,
    CheckDuplicate: true,
    Labels: own,
  });
  return made.id;
}

/** Reads a service; undefined if there is none of this name. */
export async function findService(docker: Dockerode, name: string): Promise<Service | undefined> {
  try {
    return Service.parse(await docker.getService(name).inspect());
  } catch (error) {
    if (isStatus(error, 404)) return undefined;
    throw error;
  }
}

/** Removes a network. Tasks that are ending still use it: tries again while no service has it, for {@link networkMs} at most. */
export async function removeNetwork(docker: Dockerode, id: string, name: string, signal: AbortSignal): Promise<void> {
  const until = performance.now() + networkMs;
  while (!(await unlessUsed(docker.getNetwork(id).remove()))) {
    const services = z.array(Service).parse(await docker.listServices());
    const targets = services.flatMap(({ Spec }) => Spec.TaskTemplate.Networks ?? []).map(({ Target }) => Target);
    if (targets.includes(id) || targets.includes(name) || performance.now() > until) return;
    await sleep(200, undefined, { signal });
  }
}

/** Waits for a removal. An object that is gone already is no error. */
export async function unlessGone(removal: Promise<unknown>): Promise<void> {
  try {
    await removal;
  } catch (error) {
    if (!isStatus(error, 404)) throw error;
  }
}

/** Waits for a removal. Returns false if the object is in use; one that is gone already counts as removed. */
export async function unlessUsed(removal: Promise<unknown>): Promise<boolean> {
  try {
    await removal;
    return true;
  } catch (error) {
    if (isStatus(error, 404)) return true;
    if (/in use|active endpoints/i.test(messageOf(error))) return false;
    throw error;
  }
}
