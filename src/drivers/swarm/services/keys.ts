import { createHmac, randomBytes, randomUUID } from 'node:crypto';
import { existsSync, linkSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { KatafleetError, messageOf } from '../../../model/errors.ts';
import { makeFolderSync } from '../../../files/make-folder.ts';

const leastBytes = 16;
const mostBytes = 4_096;

/**
 * The master key of a deployment. Every service's secret is derived from it and from the secret's name, so that nothing has
 * to be remembered: a swarm never gives a secret back, and a katafleet that starts again, or a second one with the same key,
 * knows the tasks that are there.
 */
export class SwarmKeys {
  readonly #master: Buffer;
  /** Identifies the key without revealing it. */
  readonly id: string;

  constructor(master: Buffer) {
    this.#master = master;
    this.id = this.#derive('katafleet key id', '').toString('hex').slice(0, 12);
  }

  /** A key for this process only: no later katafleet takes over what it leaves in the swarm. */
  static ephemeral(): SwarmKeys {
    return new SwarmKeys(randomBytes(32));
  }

  /**
   * The key in a file; a file that isn't there is made, for its owner alone. `warn` is told of one that others can read.
   * @throws config.invalid
   */
  static from(file: string, warn: (message: string) => void = () => undefined): SwarmKeys {
    try {
      makeFolderSync(dirname(file));
      if (!existsSync(file)) makeIfMissing(file);
      const master = readFileSync(file);
      const mode = statSync(file).mode & 0o777;
      if ((mode & 0o077) !== 0)
        warn(`swarm.key: ${file} is open to others (mode ${mode.toString(8)}): whoever reads it can pass for a sandbox; chmod 600`);
      if (master.length >= leastBytes && master.length <= mostBytes) return new SwarmKeys(master);
      throw new Error(`it has ${master.length} bytes; ${leastBytes} to ${mostBytes} are expected`);
    } catch (cause) {
      throw new KatafleetError('config.invalid', `swarm.key: the file ${file} can't be used: ${messageOf(cause)}`, {
        cause,
        hint: 'it must be readable by katafleet and by nobody else; where it is missing katafleet makes it',
      });
    }
  }

  #derive(purpose: string, name: string): Buffer {
    return createHmac('sha256', this.#master).update(`${purpose}\0${name}`).digest();
  }

  /** The bytes of a secret by its name in the swarm. */
  secret(name: string): Buffer {
    return this.#derive('katafleet secret', name);
  }
}

/** Creates the file complete or not at all: another katafleet may be reading it. */
function makeIfMissing(file: string): void {
  const own = `${file}.${randomUUID()}`;
  try {
    writeFileSync(own, randomBytes(32), { flag: 'wx', mode: 0o600, flush: true });
    linkSync(own, file);
  } catch (error) {
    // One that is there, on a read-only file system for instance, is read.
    if (!['EEXIST', 'EROFS', 'EACCES'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  } finally {
    rmSync(own, { force: true });
  }
}
