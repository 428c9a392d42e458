import { z } from 'zod';
import { KatafleetError } from '../../../model/errors.ts';
import type { Machine } from '../../../model/node.ts';
import type { Fingerprint } from '../../contract.ts';
import { capacityOf, takesTasks } from '../../machines.ts';
import type { Managers } from './managers.ts';

/** The fields of a node of `GET /nodes` that are read. */
const SwarmNode = z.object({
  ID: z.string(),
  Version: z.object({ Index: z.number() }),
  Spec: z.looseObject({
    Role: z.enum(['manager', 'worker']),
    Availability: z.enum(['active', 'pause', 'drain']),
    Labels: z.record(z.string(), z.string()).nullish(),
  }),
  Description: z.object({
    Hostname: z.string().default(''),
    Platform: z.object({ Architecture: z.string().default('') }).prefault({}),
    Resources: z.object({ NanoCPUs: z.number().default(0), MemoryBytes: z.number().default(0) }).prefault({}),
    Engine: z.object({ EngineVersion: z.string().default('') }).prefault({}),
  }),
  Status: z.object({ State: z.string(), Message: z.string().default(''), Addr: z.string().default('') }),
  ManagerStatus: z.object({ Leader: z.boolean().default(false), Reachability: z.string().default('') }).nullish(),
});
type SwarmNode = z.output<typeof SwarmNode>;

const architectures: Record<string, Machine['architecture']> = { x86_64: 'amd64', amd64: 'amd64', aarch64: 'arm64', arm64: 'arm64' };
const states = ['ready', 'down', 'disconnected'] as const;

/** Lists the machines of a swarm, without their sandboxes, which only the driver knows. @throws engine.*, swarm.* */
export async function swarmNodes(managers: Managers): Promise<Machine[]> {
  const answer = await managers.do('list the nodes of the swarm', (docker) => docker.listNodes() as Promise<unknown>);
  const nodes = z.array(SwarmNode).safeParse(answer);
  if (!nodes.success)
    throw new KatafleetError('engine.failed', `the swarm's list of nodes is not of the expected form: ${nodes.error.message}`);
  return nodes.data.map(memberOf).sort((a, b) => (a.name < b.name ? -1 : 1));
}

function memberOf({ ID, Spec, Description, Status, ManagerStatus }: SwarmNode): Machine {
  return {
    id: ID,
    name: Description.Hostname,
    role: Spec.Role,
    leader: ManagerStatus?.Leader ?? false,
    state: states.find((state) => state === Status.State) ?? 'unknown',
    availability: Spec.Availability,
    message: Status.Message,
    labels: Spec.Labels ?? {},
    architecture: architectures[Description.Platform.Architecture] ?? 'other',
    engineVersion: Description.Engine.EngineVersion,
    cpus: Description.Resources.NanoCPUs / 1e9,
    memory: Description.Resources.MemoryBytes,
    address: Status.Addr,
    sandboxes: { idle: 0, busy: 0 },
  };
}

/** Returns the fingerprint of a swarm as one node: the sum of the machines that take tasks; all other fields are the manager's. */
export function swarmFingerprint(manager: Fingerprint, nodes: readonly Machine[]): Fingerprint {
  return { ...manager, engineId: manager.swarmId, ...capacityOf(nodes.filter(takesTasks)) };
}

/** Sets the availability of a machine, by its id. @throws node.unknown, engine.*, swarm.* */
export async function setAvailability(managers: Managers, id: string, availability: Machine['availability']): Promise<void> {
  const known = (await swarmNodes(managers)).some((node) => node.id === id);
  if (!known) throw new KatafleetError('node.unknown', `no node ${id} in the swarm`);
  await managers.do(`set the availability of the node ${id}`, async (docker) => {
    const node = docker.getNode(id);
    const { Version, Spec } = SwarmNode.parse(await node.inspect());
    if (Spec.Availability === availability) return;
    const options: object = { _query: { version: Version.Index }, _body: { ...Spec, Availability: availability } };
    await node.update(options);
  });
}
