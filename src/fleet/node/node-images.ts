import { within } from '../../base/deadline.ts';
import { KatafleetError } from '../../model/errors.ts';
import { imageIndex } from '../../model/image-name.ts';
import type { Driver, NodeImage, PreparedImage } from '../../drivers/contract.ts';
import { CachedCall } from './cached-call.ts';

/** How long a run waits for the image list after a change, ms. */
const currentMs = 1_000;

export interface NodeImagesOptions {
  driver: Driver;
  onImages?: ((names: Iterable<string>) => void) | undefined;
  /** Called with the canonical names of images that were rebuilt or removed; {@link NodeImages.id} tells which. */
  onChanged: (names: readonly string[]) => void;
}

/** The images of one node: the list, and the images that are ready for sandboxes. */
export class NodeImages {
  readonly #options: NodeImagesOptions;
  readonly #asked = new Map<string, Promise<PreparedImage>>();
  /** Images that are ready already: a warm run waits for nothing, not even a turn of the event loop. */
  readonly #prepared = new Map<string, PreparedImage>();
  #inventory: { list: NodeImage[]; names: Map<string, string>; at: number } = { list: [], names: new Map(), at: 0 };
  /** How many changes the engine has reported, and how many of them the list has. */
  #changes = 0;
  #known = 0;
  readonly #looks = new CachedCall(() => this.#look());

  constructor(options: NodeImagesOptions) {
    this.#options = options;
  }

  get list(): readonly NodeImage[] {
    return this.#inventory.list;
  }

  /** When the list was last read, Unix ms; 0 if never. */
  get at(): number {
    return this.#inventory.at;
  }

  /** Returns the id of an image by its canonical name, from the last list. */
  id(name: string): string | undefined {
    return this.#inventory.names.get(name);
  }

  /** Reads the engine's image list. @throws engine.* */
  refresh(): Promise<void> {
    return this.#looks.get('anew');
  }

  async #look(): Promise<void> {
    const { driver, onImages, onChanged } = this.#options;
    const changes = this.#changes;
    const list = await driver.images();
    const names = imageIndex(list);
    const changed = Array.from(this.#inventory.names).flatMap(([name, id]) => (names.get(name) === id ? [] : [name]));
    for (const name of changed) this.forget(name);
    this.#inventory = { list, names, at: Date.now() };
    this.#known = Math.max(this.#known, changes);
    onImages?.(names.keys());
    if (changed.length > 0) onChanged(changed);
  }

  /** Notes that the engine has reported a change: the list is stale until it is read again. */
  changed(): void {
    this.#changes += 1;
  }

  /** Whether images have changed since the list was read. */
  get stale(): boolean {
    return this.#known < this.#changes;
  }

  /**
   * Waits until the list is not {@link stale}, so that a run submitted after a rebuild gets the new image. Waits a second at most for
   * a slow engine. Never rejects.
   */
  async current(): Promise<void> {
    const look = async () => {
      while (this.stale) await this.#looks.get(0);
    };
    await within(currentMs, look).catch(() => undefined);
  }

  /** Returns the image if it is ready already. */
  ready(name: string): PreparedImage | undefined {
    return this.#prepared.get(name);
  }

  /** Prepares an image by its canonical name, once, and returns it. @throws image.unknown */
  prepare(name: string): Promise<PreparedImage> {
    const known = this.#asked.get(name);
    if (known) return known;
    const id = this.id(name) ?? name;
    const asked = this.#options.driver.prepare(id).then(
      (prepared) => ({ ...prepared, name }),
      (error: unknown) => {
        throw withNameForId(name, id, error);
      },
    );
    this.#asked.set(name, asked);
    asked.then(
      (prepared) => this.isCurrent(name, asked) && this.#prepared.set(name, prepared),
      () => this.isCurrent(name, asked) && this.#asked.delete(name),
    );
    return asked;
  }

  /** Whether an answer of {@link prepare} is still valid: the image was not rebuilt meanwhile. */
  isCurrent(name: string, asked: Promise<PreparedImage>): boolean {
    return this.#asked.get(name) === asked;
  }

  /** Drops all images: another machine answers. */
  forgetAll(): string[] {
    const names = Array.from(this.#asked.keys());
    this.#asked.clear();
    this.#prepared.clear();
    return names;
  }

  /** Makes the next {@link prepare} ask the driver again. */
  forget(name: string): void {
    this.#asked.delete(name);
    this.#prepared.delete(name);
  }
}

/** Returns an error that names the image as the caller did, because an id tells a person nothing. */
function withNameForId(name: string, id: string, error: unknown): unknown {
  if (!(error instanceof KatafleetError) || !error.message.includes(id) || id === name) return error;
  const { code, message, hint, retryAfterMs } = error;
  return new KatafleetError(code, message.replaceAll(id, name), {
    cause: error,
    ...(hint === undefined ? {} : { hint: hint.replaceAll(id, name) }),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  });
}
