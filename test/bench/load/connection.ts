import { connect, type Socket } from 'node:net';
import { once } from 'node:events';

export interface HttpAnswer {
  status: number;
  /** Its beginning, at most 64 KiB. */
  body: string;
}

const ends = Buffer.from('\r\n\r\n');
const lastChunk = Buffer.from('\r\n0\r\n\r\n');

/**
 * A connection that stays, for one request at a time. It reads no more of an answer than where it ends: Node's own client takes several
 * times as much CPU, which the server that is measured would lack.
 */
export class Connection {
  readonly #socket: Socket;
  #chunks: Buffer[] = [];
  #bytes = 0;
  /** Bytes of the whole answer, as soon as its head is there; Infinity for one in chunks. */
  #wanted: number | undefined;
  #done: ((answer: HttpAnswer) => void) | undefined;
  #failed: ((error: Error) => void) | undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on('data', (chunk) => this.#take(chunk));
    socket.on('error', (error) => this.#failed?.(error));
    socket.on('close', () => this.#failed?.(new Error('the server has closed the connection')));
  }

  static async open(url: string): Promise<Connection> {
    const { hostname, port } = new URL(url);
    const socket = connect(Number(port), hostname);
    await once(socket, 'connect');
    return new Connection(socket);
  }

  /** Sends a whole request, and returns its answer. */
  send(request: Buffer): Promise<HttpAnswer> {
    return new Promise((resolve, reject) => {
      this.#done = resolve;
      this.#failed = reject;
      this.#socket.write(request);
    });
  }

  #take(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    if (this.#wanted === undefined) {
      const all = this.#chunks.length === 1 ? chunk : Buffer.concat(this.#chunks);
      this.#chunks = [all];
      const head = all.indexOf(ends);
      if (head < 0) return;
      const length = /\r\ncontent-length: *(\d+)/i.exec(all.toString('latin1', 0, head))?.[1];
      this.#wanted = length === undefined ? Infinity : head + ends.length + Number(length);
    }
    const over = this.#wanted === Infinity ? chunk.subarray(-lastChunk.length).equals(lastChunk) : this.#bytes >= this.#wanted;
    if (!over) return;
    const [first = Buffer.alloc(0), ...more] = this.#chunks;
    const shown = more.length === 0 ? first : Buffer.concat(this.#chunks.slice(0, 2));
    const body = shown.indexOf(ends) + ends.length;
    const answer = { status: Number(shown.toString('latin1', 9, 12)), body: shown.toString('utf8', body, body + 65_536) };
    this.#chunks = [];
    this.#bytes = 0;
    this.#wanted = undefined;
    this.#done?.(answer);
  }

  close(): void {
    this.#failed = undefined;
    this.#socket.destroy();
  }
}

/** Returns the bytes of a request with a JSON body. */
export function httpPost(url: string, path: string, body: object): Buffer {
  const json = Buffer.from(JSON.stringify(body));
  const head = `POST ${path} HTTP/1.1\r\nhost: ${new URL(url).host}\r\ncontent-type: application/json\r\ncontent-length: ${json.length}\r\n\r\n`;
  return Buffer.concat([Buffer.from(head), json]);
}
