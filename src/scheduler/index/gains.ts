/** What may help waiting runs, since it was last taken. */
export class Gains {
  #slots = new Set<number>();
  #images = new Set<string>();

  /** Notes that the node of a slot has gained room, an image or a sandbox, or takes other runs than before. */
  add(slot: number): void {
    this.#slots.add(slot);
  }

  /** Notes that a ready node has an image which none had: it can be copied now. */
  addImage(image: string): void {
    this.#images.add(image);
  }

  get some(): boolean {
    return this.#slots.size > 0 || this.#images.size > 0;
  }

  /** Returns the gains and forgets them. */
  take(): { slots: ReadonlySet<number>; images: ReadonlySet<string> } {
    const taken = { slots: this.#slots, images: this.#images };
    this.#slots = new Set();
    this.#images = new Set();
    return taken;
  }
}
