import { createHmac, randomBytes, randomUUID } from 'node:crypto';
import { existsSync, linkSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { KatafleetError, messageOf } from '../../../model/errors.ts';
import { makeFolderSync } from '../../../files/make-folder.ts';

const leastBytes = 16;
const mostBytes = 4_096;

/**
 * The master key of a deployment. Every service's secret is derived from it and from the secret's name, so no secret must be stored. A
 * swarm never returns a secret, but a restarted katafleet, or a second one with the same key, can still check the existing tasks.
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
   * Reads the key from a file. Makes a missing file, which only its owner can read. Calls `warn` if others can read the file.
   * @throws config.invalid
   */
  static from(file: string, warn: (message: string) => void = () => undefined): SwarmKeys {
    try {
      makeFolderSync(dirname(file));
      if (!existsSync(file)) makeIfMissing(file);
      const master = readFileSync(file);
      const mode = statSync(file).mode & 0o777;
      if ((mode & 0o077) !== 0)
        warn(`swarm.key: ${file} is open to others (mode ${mode.toString(8)}): a user who reads it can pose as a sandbox; chmod 600`);
      if (master.length >= leastBytes && master.length <= mostBytes) return new SwarmKeys(master);
      throw new Error(`expected ${leastBytes} to ${mostBytes} bytes, got ${master.length}`);
    } catch (cause) {
      throw new KatafleetError('config.invalid', `swarm.key: the file ${file} can't be used: ${messageOf(cause)}`, {
        cause,
        hint: 'only katafleet may be able to read it; katafleet makes a missing file',
      });
    }
  }

  #derive(purpose: string, name: string): Buffer {
    return createHmac('sha256', this.#master).update(`${purpose}\0${name}`).digest();
  }

  /** Returns the bytes of a secret by its name in the swarm. */
  secret(name: string): Buffer {
    return this.#derive('katafleet secret', name);
  }
}

/** Creates the file with its whole content at once, because another katafleet may read it at the same time. */
function makeIfMissing(file: string): void {
  const own = `${file}.${randomUUID()}`;
  try {
    writeFileSync(own, randomBytes(32), { flag: 'wx', mode: 0o600, flush: true });
    linkSync(own, file);
  } catch (error) {
    // EEXIST: another katafleet has made it. EROFS, EACCES: the caller's read reports a missing file.
    if (!['EEXIST', 'EROFS', 'EACCES'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  } finally {
    rmSync(own, { force: true });
  }
}
