import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { KatafleetError } from '../../../src/model/errors.ts';
import { SwarmKeys } from '../../../src/drivers/swarm/services/keys.ts';

const invalid = (error: unknown) => error instanceof KatafleetError && error.code === 'config.invalid';

describe('the master key of a deployment', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'katafleet-keys-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it('is made where it is missing, whole, for its owner alone, and is the same from then on', () => {
    const file = join(folder, 'state', 'swarm.key');
    const made = SwarmKeys.from(file);
    assert.deepEqual([statSync(file).mode & 0o777, readFileSync(file).length], [0o600, 32]);
    assert.deepEqual(readdirSync(join(folder, 'state')), ['swarm.key']);
    const again = SwarmKeys.from(file);
    assert.deepEqual([again.id, again.secret('a')], [made.id, made.secret('a')]);
  });

  it('is taken from a file that others can read, with a word about it', () => {
    const file = join(folder, 'key');
    writeFileSync(file, Buffer.alloc(32, 1), { mode: 0o640 });
    const warnings: string[] = [];
    SwarmKeys.from(file, (message) => warnings.push(message));
    assert.match(warnings.join('\n'), /^swarm\.key: .*key is open to others \(mode 640\).*chmod 600$/);
    chmodSync(file, 0o400);
    SwarmKeys.from(file, () => assert.fail('it is its owner’s alone'));
  });

  it('is told by no name: neither of it nor of a secret is the key', () => {
    const master = Buffer.from('0123456789abcdef0123456789abcdef');
    const keys = new SwarmKeys(master);
    assert.match(keys.id, /^[0-9a-f]{12}$/);
    assert.ok(!keys.secret('a').includes(master.subarray(0, 8)) && !master.toString('hex').includes(keys.id));
  });

  it('gives every name and every key its own secret', () => {
    const [one, other] = [SwarmKeys.ephemeral(), SwarmKeys.ephemeral()];
    const secrets = [one.secret('a'), one.secret('b'), other.secret('a')].map((secret) => secret.toString('hex'));
    assert.equal(new Set(secrets).size, 3);
    assert.notEqual(one.id, other.id);
    assert.deepEqual(one.secret('a').length, 32);
  });

  it('has 16 to 4096 bytes, and is a file', () => {
    for (const bytes of [0, 15, 4_097]) {
      writeFileSync(join(folder, 'key'), Buffer.alloc(bytes, 1));
      assert.throws(() => SwarmKeys.from(join(folder, 'key')), invalid);
    }
    assert.throws(() => SwarmKeys.from(folder), invalid);
    writeFileSync(join(folder, 'file'), 'x');
    assert.throws(() => SwarmKeys.from(join(folder, 'file', 'key')), invalid);
    assert.ok(!existsSync(join(folder, 'file', 'key')));
  });
});
