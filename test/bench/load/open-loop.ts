import assert from 'node:assert/strict';
import { Connection } from './connection.ts';

/**
 * Sends requests at a fixed rate, whether the server keeps up or not. Each latency counts from the time at which its request was due, so
 * that a request that waits for a connection, or for this process, is not left out.
 */
export class OpenLoop implements Disposable {
  readonly #free: Connection[];
  readonly #all: readonly Connection[];
  readonly #waiting: { due: number; request: Buffer }[] = [];
  #latencies: number[] = [];
  #failures: string[] = [];
  #underWay = 0;
  readonly #accepted: (status: number) => boolean;

  private constructor(connections: readonly Connection[], accepted: (status: number) => boolean) {
    this.#all = connections;
    this.#free = [...connections];
    this.#accepted = accepted;
  }

  static async open(url: string, connections: number, accepted: (status: number) => boolean): Promise<OpenLoop> {
    return new OpenLoop(await Promise.all(Array.from({ length: connections }, () => Connection.open(url))), accepted);
  }

  /** Sends for this time, ms, and waits for the answers. Returns the latencies (ms) and what was not accepted. */
  async run(perSecond: number, ms: number, request: () => Buffer): Promise<{ latencies: number[]; failures: string[] }> {
    const begun = performance.now();
    let sent = 0;
    for (let passed = 0; passed < ms; passed = performance.now() - begun) {
      for (const due = Math.floor((Math.min(passed, ms) / 1_000) * perSecond); sent < due; sent += 1)
        this.#send(begun + (sent / perSecond) * 1_000, request());
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    while (this.#underWay + this.#waiting.length > 0) await new Promise((resolve) => setTimeout(resolve, 5));
    const [latencies, failures] = [this.#latencies, this.#failures];
    [this.#latencies, this.#failures] = [[], []];
    return { latencies, failures };
  }

  #send(due: number, request: Buffer): void {
    const connection = this.#free.pop();
    if (!connection) {
      this.#waiting.push({ due, request });
      return;
    }
    this.#underWay += 1;
    connection.send(request).then(
      ({ status, body }) => {
        this.#latencies.push(performance.now() - due);
        if (!this.#accepted(status)) this.#failures.push(`${status}: ${body.slice(0, 300)}`);
        this.#underWay -= 1;
        this.#free.push(connection);
        const next = this.#waiting.shift();
        if (next) this.#send(next.due, next.request);
      },
      (error: unknown) => {
        this.#underWay -= 1;
        this.#failures.push(String(error));
      },
    );
    assert.ok(this.#underWay <= this.#all.length);
  }

  [Symbol.dispose](): void {
    for (const connection of this.#all) connection.close();
  }
}
