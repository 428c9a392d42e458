import { createSocket } from 'node:dgram';
import { once } from 'node:events';

/** A question to a DNS server (RFC 1035). */
export interface Question {
  readonly id: number;
  readonly name: string;
  /** The question's own bytes, to be sent back. */
  readonly bytes: Buffer;
}

const headerBytes = 12;

/** An A record for the name in the question. */
export const record = (address: string): Buffer =>
  Buffer.concat([Buffer.from([0xc0, headerBytes, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]), Buffer.from(address.split('.').map(Number))]);

/** An answer with these records. */
export function answer({ id, bytes }: Question, records: readonly Buffer[], { flags = 0x8180, count = records.length } = {}): Buffer {
  const header = Buffer.alloc(headerBytes);
  [id, flags, 1, count].forEach((value, i) => header.writeUInt16BE(value, 2 * i));
  return Buffer.concat([header, bytes, ...records]);
}

/** A DNS server. The test decides every datagram that it sends. */
export class NameServer {
  readonly questions: Question[] = [];
  readonly #socket = createSocket('udp4');

  private constructor(reply: (question: Question) => readonly Buffer[]) {
    this.#socket.on('message', (message, from) => {
      const bytes = message.subarray(headerBytes);
      const labels: string[] = [];
      for (let at = 0; bytes.readUInt8(at) !== 0; at += 1 + bytes.readUInt8(at))
        labels.push(bytes.toString('latin1', at + 1, at + 1 + bytes.readUInt8(at)));
      const question = { id: message.readUInt16BE(0), name: labels.join('.'), bytes };
      this.questions.push(question);
      for (const datagram of reply(question)) this.#socket.send(datagram, from.port, from.address);
    });
  }

  /** Listens at DNS's port of an address of this machine, such as 127.x.y.z. */
  static async listen(address: string, reply: (question: Question) => readonly Buffer[]): Promise<NameServer> {
    const made = new NameServer(reply);
    made.#socket.bind(53, address);
    await once(made.#socket, 'listening');
    return made;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.#socket, 'close');
    this.#socket.close();
    await closed;
  }
}
