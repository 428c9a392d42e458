import { supervisorPath } from '../docker/isolation.ts';
import type { SupervisorBinary } from '../docker/supervisor.ts';
import type { Carried } from './adapt.ts';
import { imageWord } from './flags.ts';
import { type Release, since } from './parse/version.ts';
import type { RemoteDocker } from './remote.ts';

/** Most images whose verdict is remembered: more than a node has. */
const mostKnown = 1_000;

/**
 * Which images of a node without a gate hold the supervisor. A label proves nothing, so the supervisor's bytes in the image are
 * compared, once for each image. Below 1.8 docker follows links when it copies out of a container, and ids do not depend on the
 * bytes: there only images that this driver made itself count.
 */
export class VerifiedImages implements Carried {
  readonly #remote: Pick<RemoteDocker, 'holds'>;
  readonly #release: () => Promise<Release>;
  readonly #verdicts = new Map<string, boolean>();

  constructor(remote: Pick<RemoteDocker, 'holds'>, release: () => Promise<Release>) {
    this.#remote = remote;
    this.#release = release;
  }

  async holds(image: string, supervisor: SupervisorBinary): Promise<boolean> {
    const key = keyOf(image, supervisor);
    const known = this.#verdicts.get(key);
    if (known !== undefined) return known;
    const release = await this.#release();
    if (!since(release, 1, 8)) return false;
    return this.#remember(key, await this.#remote.holds(imageWord(image, release), supervisorPath, supervisor.bytes));
  }

  made(image: string, supervisor: SupervisorBinary): void {
    this.#remember(keyOf(image, supervisor), true);
  }

  #remember(key: string, verdict: boolean): boolean {
    this.#verdicts.set(key, verdict);
    const [oldest] = this.#verdicts.keys();
    if (this.#verdicts.size > mostKnown && oldest !== undefined) this.#verdicts.delete(oldest);
    return verdict;
  }
}

const keyOf = (image: string, { sha256 }: SupervisorBinary) => `${image} ${sha256}`;
