/** Numbers of the nodes of one architecture that have an image: all of them, and the ready ones, from which it can be copied. */
export interface Copies {
  all: number;
  ready: number;
}

const noCopies: Readonly<Copies> = { all: 0, ready: 0 };
const keyOf = (image: string, architecture: string) => `${architecture} ${image}`;

/** The number of copies of each image, by architecture. */
export class CopyCounts {
  readonly #copies = new Map<string, Copies>();

  get(image: string, architecture: string): Readonly<Copies> {
    return this.#copies.get(keyOf(image, architecture)) ?? noCopies;
  }

  /** Adds a node's images to the counts, or subtracts them. `onReady` is called with each image whose first ready copy this is. */
  count(
    images: Iterable<string>,
    { architecture, ready }: { architecture: string; ready: boolean },
    one: 1 | -1,
    onReady: (image: string) => void = () => undefined,
  ): void {
    for (const image of images) {
      const key = keyOf(image, architecture);
      const copies = this.#copies.get(key) ?? noCopies;
      if (copies.all + one === 0) this.#copies.delete(key);
      else {
        if (ready && one === 1 && copies.ready === 0) onReady(image);
        this.#copies.set(key, { all: copies.all + one, ready: copies.ready + (ready ? one : 0) });
      }
    }
  }
}
