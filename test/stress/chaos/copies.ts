import { Readable } from 'node:stream';
import tar from 'tar-stream';
import type { Testbed } from '../../support/testbed.ts';
import { engineOf } from '../../support/swarm.ts';

/** Images that only one host has: a run that must go to another host is `placed` there until the image has come. */
export class Copies {
  readonly #bed: Testbed;
  readonly holder: string;
  readonly #names: string[] = [];
  #next = 0;

  constructor(bed: Testbed, holder: string) {
    [this.#bed, this.holder] = [bed, holder];
  }

  /** Makes a number of images, alike but for a label. */
  async make(count: number): Promise<void> {
    for (let index = 0; index < count; index += 1) {
      const name = `storm/copy-${index}`;
      const archive = tar.pack();
      archive.entry({ name: 'Dockerfile' }, `FROM katafleet/debian:bookworm\nLABEL storm=${index}\n`);
      archive.finalize();
      const answer = await engineOf(this.#bed, this.holder).buildImage(Readable.from(archive), { t: name });
      let last = '';
      for await (const bytes of answer) last = String(bytes);
      if (last.includes('"error"')) throw new Error(`${name} is not built: ${last}`);
      this.#names.push(name);
    }
  }

  /** The next image; undefined when all have been taken. */
  take(): string | undefined {
    return this.#names[this.#next++];
  }

  /** Whether a host has an image. A host that does not answer never has the answer. */
  async isOn(host: string, name: string): Promise<boolean> {
    return engineOf(this.#bed, host)
      .getImage(name)
      .inspect()
      .then(
        () => true,
        () => false,
      );
  }
}
