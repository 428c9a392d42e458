import { within } from '../../base/deadline.ts';
import { KatafleetError } from '../../model/errors.ts';
import { imageIndex } from '../../model/image-name.ts';
import type { Driver, NodeImage, PreparedImage } from '../../drivers/contract.ts';
import { CachedCall } from './cached-call.ts';

/** How long a run waits for the list of images after they have changed, ms. */
const currentMs = 1_000;

export interface NodeImagesOptions {
  driver: Driver;
  onImages?: ((names: Iterable<string>) => void) | undefined;
  /** These images, by canonical name, were built anew or are gone; {@link NodeImages.id} tells which. */
  onChanged: (names: readonly string[]) => void;
}

/** The images of one node: which there are, and those that are ready for sandboxes. */
export class NodeImages {
  readonly #options: NodeImagesOptions;
  readonly #asked = new Map<string, Promise<PreparedImage>>();
  /** Those of them that are known already: a warm run waits for nothing, not even a turn of the event loop. */
  readonly #prepared = new Map<string, PreparedImage>();
  #inventory: { list: NodeImage[]; names: Map<string, string>; at: number } = { list: [], names: new Map(), at: 0 };
  /** Changes that the engine has told of, and how many of them the inventory knows. */
  #changes = 0;
  #known = 0;
  readonly #looks = new CachedCall(() => this.#look());

  constructor(options: NodeImagesOptions) {
    this.#options = options;
  }

  get list(): readonly NodeImage[] {
    return this.#inventory.list;
  }

  /** Unix ms of the last look, 0 if never. */
  get at(): number {
    return this.#inventory.at;
  }

  /** The id of an image by a canonical name, as of the last look. */
  id(name: string): string | undefined {
    return this.#inventory.names.get(name);
  }

  /** Asks the engine which images it has. @throws engine.* */
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

  /** The engine has told that its images change: the list is old until the engine is asked again. */
  changed(): void {
    this.#changes += 1;
  }

  /** Whether images have changed since the last look. */
  get stale(): boolean {
    return this.#known < this.#changes;
  }

  /**
   * Waits until the list is not {@link stale}: a run that was asked for after an image was built anew gets the new one. An engine
   * that is slow to answer is waited for a second at most. Never rejects.
   */
  async current(): Promise<void> {
    const look = async () => {
      while (this.stale) await this.#looks.get(0);
    };
    await within(currentMs, look).catch(() => undefined);
  }

  /** The image, if it is ready already. */
  ready(name: string): PreparedImage | undefined {
    return this.#prepared.get(name);
  }

  /** The image, made ready once. Its name is canonical. @throws image.unknown */
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

  /** Whether an answer of {@link prepare} was not forgotten meanwhile, because the image was built anew. */
  isCurrent(name: string, asked: Promise<PreparedImage>): boolean {
    return this.#asked.get(name) === asked;
  }

  /** The next {@link prepare} asks the driver again. */
  forget(name: string): void {
    this.#asked.delete(name);
    this.#prepared.delete(name);
  }
}

/** An error about an image by the name that it was asked for by: its id tells a person nothing. */
function withNameForId(name: string, id: string, error: unknown): unknown {
  if (!(error instanceof KatafleetError) || !error.message.includes(id) || id === name) return error;
  const { code, message, hint, retryAfterMs } = error;
  return new KatafleetError(code, message.replaceAll(id, name), {
    cause: error,
    ...(hint === undefined ? {} : { hint: hint.replaceAll(id, name) }),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  });
}
