import assert from 'node:assert/strict';
import { chmod, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cacheFolder, RememberedFacts } from '../../src/drivers/engine/remembered.ts';

describe('what is remembered from one process to the next', () => {
  let folder: string;
  let file: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'katafleet-cache-'));
    file = join(folder, 'katafleet/supervisors');
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  it('is there for the next, in a file that is nobody else’s', async () => {
    const first = new RememberedFacts(file);
    assert.equal(await first.has('a'), false);
    await Promise.all([first.add('a'), first.add('b')]);
    assert.equal(await first.has('a'), true);
    const next = new RememberedFacts(file);
    assert.deepEqual([await next.has('a'), await next.has('b'), await next.has('c')], [true, true, false]);
    assert.equal((await stat(file)).mode & 0o777, 0o600);
  });

  it('is not believed where others may write', async () => {
    await new RememberedFacts(file).add('a');
    await chmod(file, 0o666);
    assert.equal(await new RememberedFacts(file).has('a'), false);
    await chmod(file, 0o600);
    await chmod(join(folder, 'katafleet'), 0o777);
    assert.equal(await new RememberedFacts(file).has('a'), false);
  });

  it('keeps the newest thousand', async () => {
    const facts = new RememberedFacts(file);
    await facts.add('0');
    await writeFile(file, `${Array.from({ length: 1_000 }, (_, index) => index).join('\n')}\n`);
    await new RememberedFacts(file).add('new');
    const lines = (await readFile(file, 'utf8')).trim().split('\n');
    assert.deepEqual([lines.length, lines[0], lines.at(-1)], [1_000, '1', 'new']);
  });

  it('is nothing where it can’t be written', async () => {
    await writeFile(join(folder, 'katafleet'), 'in the way');
    const facts = new RememberedFacts(file);
    await facts.add('a');
    assert.equal(await facts.has('a'), true);
    assert.equal(await new RememberedFacts(file).has('a'), false);
  });

  it('lies where caches lie', () => {
    assert.equal(cacheFolder({ XDG_CACHE_HOME: '/x', HOME: '/h' }), '/x/katafleet');
    assert.equal(cacheFolder({ HOME: '/h' }), '/h/.cache/katafleet');
    assert.equal(cacheFolder({ XDG_CACHE_HOME: 'here', HOME: '/h' }), '/h/.cache/katafleet');
  });
});
