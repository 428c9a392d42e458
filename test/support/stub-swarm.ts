import type http from 'node:http';
import { text } from 'node:stream/consumers';
import { labels } from '../../src/model/labels.ts';
import { type Answer, stubEngine } from './stub-engine.ts';

/** What the swarm stores of a service, secret, config or node. */
export interface Kept {
  ID: string;
  Version: { Index: number };
  UpdatedAt: string;
  Spec: Record<string, unknown> & { Name: string; Labels?: Record<string, string> };
}

export interface Asked {
  method: string;
  /** The path with its query, without the version. */
  url: string;
  body: unknown;
}

/** An error answer: a status and the engine's message. */
type Fault = [status: number, message: string];

const kinds = ['services', 'secrets', 'configs', 'networks'] as const;
type Kind = (typeof kinds)[number];

/** A manager's engine that stores objects as a swarm does: versions, unique names, and references that must exist. */
export class StubSwarm implements AsyncDisposable {
  readonly kept: Record<Kind, Map<string, Kept>> = { services: new Map(), secrets: new Map(), configs: new Map(), networks: new Map() };
  nodes: object[] = [stubNode('n1')];
  /** Tasks by the name of their service. */
  tasks: Record<string, object[]> = {};
  images: Record<string, object> = {};
  info: object = {
    Name: 'n1',
    Architecture: 'x86_64',
    MemoryLimit: true,
    SwapLimit: true,
    NCPU: 2,
    MemTotal: 8e9,
    Swarm: { LocalNodeState: 'active', ControlAvailable: true, NodeAddr: '127.0.0.1' },
  };
  readonly asked: Asked[] = [];
  /** Sees a call before it is answered, and may return the answer. `hang`: there is no answer. */
  before: (asked: Asked) => Fault | 'hang' | undefined = () => undefined;
  endpoint = '';
  #made = 0;
  #engine: AsyncDisposable | undefined;

  static async start(): Promise<StubSwarm> {
    const swarm = new StubSwarm();
    const info: Answer = (_request, response) => json(response, 200, swarm.info);
    const engine = await stubEngine({ '/info': info }, (request, response) => void swarm.#answer(request, response));
    swarm.#engine = engine;
    swarm.endpoint = engine.endpoint;
    return swarm;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#engine?.[Symbol.asyncDispose]();
    this.#engine = undefined;
  }

  /** Names of the stored objects of a kind. */
  names(kind: Kind): string[] {
    return Array.from(this.kept[kind].values(), ({ Spec }) => Spec.Name).sort();
  }

  find(kind: Kind, name: string): Kept | undefined {
    return Array.from(this.kept[kind].values()).find(({ ID, Spec }) => Spec.Name === name || ID === name);
  }

  /** Adds an object as another client would. */
  keep(kind: Kind, Spec: Kept['Spec']): Kept {
    const kept = { ID: `${kind}-${(this.#made += 1)}`, Version: { Index: this.#made }, UpdatedAt: new Date().toISOString(), Spec };
    this.kept[kind].set(kept.ID, kept);
    return kept;
  }

  /** Changes an object as another client would. */
  touch(kept: Kept, change: Partial<Kept['Spec']> = {}): void {
    kept.Version = { Index: (this.#made += 1) };
    Object.assign(kept.Spec, change);
  }

  /** Calls that changed something, such as `POST /services/create`. */
  changes(): string[] {
    return this.asked.filter(({ method }) => method !== 'GET').map(({ method, url }) => `${method} ${url.replace(/\?.*/, '')}`);
  }

  async #answer(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    const url = (request.url ?? '').replace(/^\/v1\.\d+/, '');
    const said = await text(request);
    const asked = { method: request.method ?? '', url, body: said === '' ? undefined : (JSON.parse(said) as unknown) };
    this.asked.push(asked);
    const fault = this.before(asked);
    if (fault === 'hang') return;
    const [status, body] = fault ? [fault[0], { message: fault[1] }] : this.#do(asked);
    json(response, status, body);
  }

  #do({ method, url, body }: Asked): [status: number, body: object | undefined] {
    const { pathname, searchParams } = new URL(url, 'http://engine');
    const [, kind = '', id = '', verb = ''] = pathname.split('/');
    const filters = JSON.parse(searchParams.get('filters') ?? '{}') as Record<string, string[]>;
    if (kind === 'nodes') return [200, this.nodes];
    if (kind === 'tasks') {
      // As in the engine, a referenced service must exist.
      const gone = filters['service']?.find((name) => !this.find('services', name) && !this.tasks[name]);
      return gone === undefined ? [200, this.#tasks(filters)] : [404, { message: `service ${gone} not found` }];
    }
    if (kind === 'images')
      return this.images[decodeURIComponent(id)] ? [200, this.images[decodeURIComponent(id)]] : no(`such image: ${id}`);
    if (!isKind(kind)) return [404, { message: `no such path ${pathname}` }];
    if (id === '') return [200, this.#listed(kind, filters)];
    if (id === 'create') return this.#create(kind, body as Kept['Spec']);
    const kept = this.find(kind, decodeURIComponent(id));
    if (!kept) return [404, { message: `${kind.slice(0, -1)} ${id} not found` }];
    if (method === 'DELETE') return this.#remove(kind, kept);
    if (verb === 'update') return this.#update(kept, Number(searchParams.get('version')), body as Kept['Spec']);
    return [200, kept];
  }

  #listed(kind: Kind, { label = [], name }: Record<string, string[]>): object[] {
    const all = Array.from(this.kept[kind].values()).filter(({ Spec }) => {
      const labelled = label.every((one) => one === `${one.split('=')[0] ?? ''}=${Spec.Labels?.[one.split('=')[0] ?? ''] ?? ''}`);
      return labelled && (!name || name.some((one) => Spec.Name.includes(one)));
    });
    return kind === 'networks' ? all.map(({ ID, Spec }) => ({ Id: ID, Name: Spec.Name, Labels: Spec.Labels })) : all;
  }

  #tasks({ service, id }: Record<string, string[]>): object[] {
    const all = Object.entries(this.tasks).flatMap(([name, tasks]) => (!service || service.includes(name) ? tasks : []));
    return all.filter((task) => !id || id.includes((task as { ID: string }).ID));
  }

  #create(kind: Kind, spec: Kept['Spec']): [number, object] {
    if (this.find(kind, spec.Name)) return [409, { message: `rpc error: code = AlreadyExists desc = ${kind} ${spec.Name} already exists` }];
    const missing = kind === 'services' ? this.#missing(spec) : undefined;
    if (missing) return [400, { message: missing }];
    const { ID } = this.keep(kind, spec);
    return [201, kind === 'networks' ? { Id: ID } : { ID }];
  }

  /** The message of Docker 20.10. */
  #missing(spec: object): string | undefined {
    for (const id of this.#used('secrets', spec))
      if (!this.kept.secrets.has(id)) return `rpc error: code = InvalidArgument desc = secret not found: ${id}`;
    for (const id of this.#used('configs', spec))
      if (!this.kept.configs.has(id)) return `rpc error: code = InvalidArgument desc = config not found: ${id}`;
    return undefined;
  }

  #used(kind: Kind, spec: object): string[] {
    const { TaskTemplate: task } = spec as {
      TaskTemplate?: {
        ContainerSpec?: { Secrets?: { SecretID: string }[]; Configs?: { ConfigID: string }[] };
        Networks?: { Target: string }[];
      };
    };
    if (kind === 'secrets') return (task?.ContainerSpec?.Secrets ?? []).map(({ SecretID }) => SecretID);
    if (kind === 'configs') return (task?.ContainerSpec?.Configs ?? []).map(({ ConfigID }) => ConfigID);
    return (task?.Networks ?? []).map(({ Target }) => Target);
  }

  #remove(kind: Kind, { ID, Spec }: Kept): [number, object | undefined] {
    const user = Array.from(this.kept.services.values()).find((service) => this.#used(kind, service.Spec).includes(ID));
    if (kind !== 'services' && user) {
      const said = `rpc error: code = InvalidArgument desc = ${kind.slice(0, -1)} '${Spec.Name}' is in use by the following service: ${user.Spec.Name}`;
      return [400, { message: said }];
    }
    this.kept[kind].delete(ID);
    return [200, {}];
  }

  #update(kept: Kept, version: number, spec: Kept['Spec']): [number, object] {
    if (version !== kept.Version.Index) return [500, { message: 'rpc error: code = Unknown desc = update out of sequence' }];
    const missing = this.#missing(spec);
    if (missing) return [400, { message: missing }];
    kept.Spec = spec;
    this.touch(kept);
    return [200, {}];
  }
}

const isKind = (kind: string): kind is Kind => (kinds as readonly string[]).includes(kind);
const no = (what: string): [number, object] => [404, { message: `No ${what}` }];

function json(response: http.ServerResponse, status: number, body: object | undefined): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

/** A ready node as `GET /nodes` shows it. */
export function stubNode(id: string, more: object = {}): object {
  return {
    ID: id,
    Version: { Index: 1 },
    Spec: { Role: 'manager', Availability: 'active', Labels: {} },
    Description: {
      Hostname: `host-${id}`,
      Platform: { Architecture: 'x86_64', OS: 'linux' },
      Resources: { NanoCPUs: 2e9, MemoryBytes: 8e9 },
      Engine: { EngineVersion: '20.10.24' },
    },
    Status: { State: 'ready', Addr: '127.0.0.1' },
    ManagerStatus: { Leader: true, Reachability: 'reachable', Addr: '127.0.0.1:2377' },
    ...more,
  };
}

/** An image as `GET /images/NAME/json` shows it. */
export const stubImage = (id: string): object => ({
  Id: id,
  Architecture: 'amd64',
  Os: 'linux',
  RepoDigests: [],
  RepoTags: [],
  Config: { Labels: { [labels.recipe]: 'x' }, Volumes: null },
});
