import { createHash } from 'node:crypto';
import { MemoMap } from '../../../base/memo.ts';
import { poolKey, type SandboxLimits } from '../../../model/profile.ts';
import type { SandboxSpec } from '../../contract.ts';
import { supervisorBinary } from '../../docker/supervisor.ts';
import { hostAndPort, ownAddress } from '../nodes/advertise.ts';
import type { SwarmImage, SwarmImages } from '../nodes/images.ts';
import type { SwarmKeys } from './keys.ts';
import type { Listener } from '../dial/listener.ts';
import type { Managers } from '../nodes/managers.ts';
import { swarmConstraint, type TaskNetwork, type TaskShape } from './service.ts';

export interface ShapesOptions {
  listener: Listener;
  keys: SwarmKeys;
  stack: string;
  instance: string;
  ephemeral?: object | undefined;
  advertise?: string | undefined;
  published?: number | undefined;
  dial: TaskNetwork;
  rotateMs?: number | undefined;
}

/** The overlay's name for a katafleet that runs as a task of the swarm, see stacks/swarm.yaml. */
const overlayName = 'katafleet';

/** Decides what tasks for a sandbox are made of, and the name of their service. */
export class Shapes {
  readonly #managers: Managers;
  readonly #images: SwarmImages;
  readonly #options: ShapesOptions;
  /** Prepared images by id. */
  readonly #prepared = new Map<string, SwarmImage>();
  /** Image ids by the reference that tasks use. */
  readonly #ids = new Map<string, string>();
  readonly #addresses = new MemoMap<TaskNetwork, string>();
  #appArmor = false;
  #several = false;

  constructor(managers: Managers, images: SwarmImages, options: ShapesOptions) {
    this.#managers = managers;
    this.#images = images;
    this.#options = options;
  }

  /** Asks whether the nodes use AppArmor. @param several whether other nodes may have to pull an image. @throws engine.*, swarm.* */
  async learn(several: boolean): Promise<void> {
    this.#several = several;
    this.#appArmor = await this.#managers.do('ask for the security options', async (docker) => {
      const { SecurityOptions } = (await docker.info()) as { SecurityOptions?: string[] | null };
      return (SecurityOptions ?? []).some((option) => option.includes('apparmor'));
    });
  }

  /** Forgets our address, which may have changed. */
  forget(): void {
    this.#addresses.clear();
  }

  /** @throws image.unknown, engine.*, swarm.* */
  async prepare(name: string): Promise<SwarmImage> {
    const image = await this.#images.prepare(name, this.#several);
    this.#prepared.set(image.prepared.id, image);
    this.#ids.set(image.reference, image.prepared.id);
    return image;
  }

  /** Returns the id of a task's image. */
  imageOf({ image }: Pick<TaskShape, 'image'>): string {
    return this.#ids.get(image) ?? image;
  }

  /** Returns a service's name and pool label, the same for every katafleet of a deployment, so that a restarted one finds its pools. */
  nameFor(image: string, limits: SandboxLimits): { name: string; label: string } {
    const { stack, keys, ephemeral, instance } = this.#options;
    const of = [stack, keys.id, ephemeral ? instance : '', poolKey(image, limits)];
    const digest = digestOf(JSON.stringify(of)).slice(0, 12);
    // A secret's name has at most 64 characters, and begins with its service's name.
    const room = Math.max(0, 64 - 13 - stack.length - 1 - digest.length - 1);
    const word = image
      .replace(/:latest$/, '')
      .replace(/[^A-Za-z0-9]+/g, '-')
      .slice(0, room)
      .replace(/^-+|-+$/g, '');
    return { name: [stack, word, digest].filter((part) => part !== '').join('-'), label: JSON.stringify({ image, limits }) };
  }

  /** @throws image.unknown, config.invalid, server.address, engine.*, swarm.* */
  async of({ image, limits, idleMs }: Pick<SandboxSpec, 'image' | 'limits' | 'idleMs'>): Promise<TaskShape> {
    const { architecture, reference } = this.#prepared.get(image.id) ?? (await this.prepare(image.id));
    limits.machines?.forEach(swarmConstraint);
    // A network that the program may use also reaches the machines' own addresses.
    const way = limits.joins === undefined ? (limits.dial ?? this.#options.dial) : 'host';
    const { sha256 } = await supervisorBinary(architecture);
    return {
      image: reference,
      architecture,
      volumes: image.volumes,
      limits,
      way,
      address: await this.#address(way),
      supervisor: sha256,
      idleMs,
      generation: this.generation(this.nameFor(image.name, limits).name),
      appArmor: this.#appArmor,
    };
  }

  /** Returns the number of a service's current secret. Services change theirs at different times, so that not all restart at once. */
  generation(service: string): string {
    const { rotateMs } = this.#options;
    const offset = parseInt(digestOf(service).slice(0, 8), 16) / 2 ** 32;
    return rotateMs === undefined ? '0' : String(Math.floor(Date.now() / rotateMs + offset));
  }

  #address(way: TaskNetwork): Promise<string> {
    return this.#addresses.get(way, () => this.#find(way));
  }

  async #find(way: TaskNetwork): Promise<string> {
    const { advertise, published, dial, listener } = this.#options;
    const port = await listener.ready();
    if (advertise !== undefined && way === dial) return advertise;
    if (way === 'overlay') return hostAndPort(overlayName, port); // the overlay needs no published port
    return hostAndPort(await ownAddress(this.#managers), published ?? port);
  }
}

const digestOf = (text: string): string => createHash('sha256').update(text).digest('hex');
