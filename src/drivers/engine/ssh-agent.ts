import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import http from 'node:http';
import { Duplex } from 'node:stream';

/** An http agent whose connections are `ssh … docker system dial-stdio`, with the person's own ssh configuration and keys. */
export class SshAgent extends http.Agent {
  readonly #argv: readonly string[];
  readonly #open = new Set<Duplex>();

  constructor(url: URL) {
    super({ keepAlive: true, maxFreeSockets: 4 });
    const port = url.port === '' ? [] : ['-p', url.port];
    const user = url.username === '' ? [] : ['-l', decodeURIComponent(url.username)];
    // A host that begins with a dash can't come out of URL parsing; `--` keeps it so should that change.
    this.#argv = [
      '-T',
      '-o',
      'BatchMode=yes',
      '-o',
      'ConnectTimeout=20',
      ...port,
      ...user,
      '--',
      url.hostname,
      'docker',
      'system',
      'dial-stdio',
    ];
  }

  override createConnection(): Duplex {
    const connection = new SshConnection(spawn('ssh', this.#argv, { stdio: 'pipe' }));
    this.#open.add(connection);
    connection.once('close', () => this.#open.delete(connection));
    return connection;
  }

  /** Those that were upgraded are not in the books of the base class. */
  override destroy(): void {
    super.destroy();
    for (const connection of this.#open) connection.destroy();
  }
}

/** The stdio of an ssh client as a socket; what ssh itself complains of becomes the stream's error. */
class SshConnection extends Duplex {
  readonly #child: ChildProcessWithoutNullStreams;
  #complaint = '';

  constructor(child: ChildProcessWithoutNullStreams) {
    super();
    this.#child = child;
    child.stdout.on('data', (chunk: Buffer) => {
      if (!this.push(chunk)) child.stdout.pause();
    });
    child.stderr.on('data', (chunk: Buffer) => {
      this.#complaint = (this.#complaint + chunk.toString()).slice(-2_000);
    });
    child.stdin.on('error', (error) => this.destroy(error));
    child.on('error', (error) => this.destroy(error));
    child.on('close', (code) => {
      // Only now: before its end nobody knows whether the stream ended or ssh failed.
      if (code === 0 || code === null) this.push(null);
      else this.destroy(Object.assign(new Error(`ssh: ${this.#complaint.trim() || `exit ${code}`}`), { code: 'ESSH' }));
    });
  }

  override _read(): void {
    this.#child.stdout.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#child.stdin.write(chunk, done);
  }

  override _final(done: () => void): void {
    this.#child.stdin.end(done);
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#child.kill();
    done(error);
  }

  // What node:http calls on a socket.
  setKeepAlive(): this {
    return this;
  }

  setNoDelay(): this {
    return this;
  }

  setTimeout(): this {
    return this;
  }

  ref(): this {
    this.#child.ref();
    return this;
  }

  unref(): this {
    this.#child.unref();
    return this;
  }
}
