import { createHmac } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { goldenJson } from '../support/golden.ts';

/** What follows from a deployment's master key: a swarm's secrets, which nobody can ask it for. */
export interface SwarmKeyExpectation {
  id: string;
  secrets: Record<string, Buffer>;
}

/** Writes a master key as katafleet makes it, random bytes, and what follows from it. */
export function makeSwarmKey(folder: string): void {
  const master = Buffer.from(Array.from({ length: 32 }, (_, index) => (index * 37 + 10) % 256));
  const derive = (purpose: string, name: string) => createHmac('sha256', master).update(`${purpose}\0${name}`).digest();
  const secrets = Object.fromEntries(['katafleet-a1b2c3', 'größe'].map((name) => [name, derive('katafleet secret', name)]));
  const expectation: SwarmKeyExpectation = { id: derive('katafleet key id', '').toString('hex').slice(0, 12), secrets };
  writeFileSync(join(folder, 'swarm.key'), master);
  writeFileSync(join(folder, 'swarm-key.json'), goldenJson(expectation));
}
