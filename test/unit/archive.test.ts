import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { toV1Archive } from '../../src/drivers/ssh/archive/convert.ts';
import { KatafleetError } from '../../src/model/errors.ts';
import { bytesOf, type Entries, entriesOf, type ImageSketch, savedBy16, savedBy20, savedBy25, sha256, tarOf } from '../support/archives.ts';

const image: ImageSketch = {
  name: 'katafleet/kata:latest',
  layers: [Buffer.from('a base'), Buffer.alloc(1_024), Buffer.alloc(70_000, 'top')],
  config: {
    User: '7:8',
    Env: ['PATH=/bin', 'A=b=c'],
    Entrypoint: ['/sh', '-c'],
    Cmd: ['echo', 'a b'],
    Labels: { z: '1', 'katafleet.recipe': 'kata', a: '' },
    WorkingDir: '/sandbox',
    Volumes: { '/v': {}, '/data': {} },
    ExposedPorts: { '80/tcp': {} },
    OnBuild: null,
    Healthcheck: { Test: ['NONE'] },
    StopSignal: 'SIGTERM',
  },
};

async function convert(
  entries: Entries | Buffer,
): Promise<{ id: string; names: readonly string[]; images: readonly object[]; bytes: Buffer }> {
  const bytes = Buffer.isBuffer(entries) ? entries : await tarOf(entries);
  await using converted = await toV1Archive(Readable.from([bytes]));
  const { id, names, images } = converted;
  const written = await bytesOf(converted.archive);
  assert.equal(written.length, converted.size, 'the size that was promised');
  return { id, names, images, bytes: written };
}

interface Layer {
  id: string;
  parent?: string;
  config?: object;
}

/** The chain of an archive as Docker 1.6 walks it, top first. */
function chain(entries: ReadonlyMap<string, Buffer>, top: string): Layer[] {
  const layers: Layer[] = [];
  for (let id: string | undefined = top; id !== undefined; id = layers.at(-1)?.parent) {
    assert.equal(entries.get(`${id}/VERSION`)?.toString(), '1.0');
    const layer = JSON.parse(entries.get(`${id}/json`)?.toString() ?? '') as Layer;
    assert.equal(layer.id, id);
    assert.match(id, /^[0-9a-f]{64}$/);
    layers.push(layer);
  }
  return layers;
}

describe('archives for Docker 1.6', () => {
  /** A temporary folder of our own: in the machine's, others unpack archives at the same time. */
  let folder: string;
  const { TMPDIR } = process.env;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'katafleet-spools-'));
    process.env['TMPDIR'] = folder;
  });
  afterEach(async () => {
    if (TMPDIR === undefined) delete process.env['TMPDIR'];
    else process.env['TMPDIR'] = TMPDIR;
    const left = await readdir(folder);
    await rm(folder, { recursive: true });
    assert.deepEqual(left, [], 'nothing is left in the temporary folder');
  });

  it('have a chain of layers with ids and parents, the configuration on the top layer, and the names', async () => {
    const { id, names, images, bytes } = await convert(savedBy25(image));
    assert.deepEqual([names, images], [['katafleet/kata:latest'], [{ id, names: ['katafleet/kata:latest'] }]]);
    const entries = await entriesOf(bytes);
    assert.deepEqual(JSON.parse(entries.get('repositories')?.toString() ?? ''), { 'katafleet/kata': { latest: id } });
    const layers = chain(entries, id);
    assert.deepEqual(
      layers.map((layer) => entries.get(`${layer.id}/layer.tar`)),
      image.layers.toReversed(),
    );
    const { OnBuild: _, Healthcheck: __, StopSignal: ___, ...known } = image.config;
    assert.deepEqual(
      layers.map(({ config }) => config),
      [known, undefined, undefined],
    );
    assert.deepEqual(Object.keys((layers[0]?.config as { Labels: object }).Labels), ['a', 'katafleet.recipe', 'z'], 'in one order');
    assert.equal(entries.size, 3 * 4 + 1, 'and nothing else');
  });

  it('are equal byte for byte, whichever engine saved the image, compressed or not', async () => {
    const [first, ...others] = await Promise.all([savedBy20(image), savedBy25(image), savedBy25({ ...image, gzip: true })].map(convert));
    for (const other of others) assert.ok(first?.bytes.equals(other.bytes));
    const bare = savedBy25({ ...image, gzip: true }).filter(([name]) => name !== 'manifest.json');
    assert.ok(first?.bytes.equals((await convert(bare)).bytes), 'a bare OCI layout');
    const reversed = await convert(savedBy20(image).toReversed());
    assert.ok(first?.bytes.equals(reversed.bytes), 'in any order of their entries');
  });

  it('keep the ids of an image that Docker 1.6 itself saved', async () => {
    const { entries, ids } = savedBy16(image);
    const { id, bytes } = await convert(entries);
    assert.equal(id, ids.at(-1));
    assert.deepEqual(
      chain(await entriesOf(bytes), id).map((layer) => layer.id),
      ids.toReversed(),
    );
  });

  it('share common layers of images, and give images with different configurations different ids', async () => {
    const sibling = { ...image, name: 'katafleet/other:1.0', config: { Cmd: ['other'] } };
    const child = { ...image, name: 'katafleet/child:1.0', layers: [...image.layers, Buffer.from('more')] };
    const { images, bytes } = await convert(savedBy20(image, sibling, child));
    assert.equal(images.length, 3);
    const repositories = JSON.parse((await entriesOf(bytes)).get('repositories')?.toString() ?? '') as Record<
      string,
      Record<string, string>
    >;
    const ids = Object.values(repositories).flatMap((tags) => Object.values(tags));
    assert.equal(new Set(ids).size, 3);
    const chains = await Promise.all(ids.map(async (id) => chain(await entriesOf(bytes), id).map((layer) => layer.id)));
    assert.equal(new Set(chains.map((own) => own.at(-1))).size, 1, 'one base');
    assert.equal(new Set(chains.flat()).size, 2 + 1 + 1 + 1 + 1, 'two lower layers, three tops, and the child’s third');
  });

  it('do not change when they are converted again', () =>
    fc.assert(
      fc.asyncProperty(
        fc.array(fc.uint8Array({ maxLength: 2_000 }), { maxLength: 5 }),
        fc.dictionary(fc.string(), fc.string()),
        fc.array(fc.string(), { maxLength: 3 }),
        fc.constantFrom(savedBy20, savedBy25),
        fc.boolean(),
        async (layers, labels, cmd, save, gzip) => {
          const sketch = { name: 'a/b:c', layers: layers.map((layer) => Buffer.from(layer)), config: { Labels: labels, Cmd: cmd }, gzip };
          // What begins like gzip is taken for it: no layer of an image does, for a layer is a tar.
          fc.pre(sketch.layers.every((layer) => layer[0] !== 0x1f));
          const once = await convert(save(sketch));
          const twice = await convert(once.bytes);
          assert.deepEqual([twice.id, twice.names, twice.images], [once.id, once.names, once.images]);
          assert.ok(twice.bytes.equals(once.bytes));
          assert.equal(chain(await entriesOf(once.bytes), once.id).length, Math.max(1, layers.length));
        },
      ),
      { numRuns: 60 },
    ));

  it('have the bytes of a layer that was saved as a link to another', async () => {
    const base = Buffer.from('the same');
    const saved = savedBy20({ ...image, layers: [base, base] });
    const [first, second] = saved.filter(([name]) => name.endsWith('layer.tar')).map(([name]) => name);
    const linked = saved.map(([name, content]): Entries[number] => (name === second ? [name, { link: `../${first}` }] : [name, content]));
    assert.ok((await convert(linked)).bytes.equals((await convert(saved)).bytes));
  });

  describe('are refused for', () => {
    const saved = savedBy20(image);
    const oci = savedBy25(image);
    const v1 = savedBy16(image).entries;
    const [, [configName = ''] = []] = [0, saved.find(([name]) => /^[0-9a-f]{64}\.json$/.test(name))];
    const layerName = saved.find(([name]) => name.endsWith('layer.tar'))?.[0] ?? '';
    const top = v1.findLast(([name]) => name.endsWith('/json'));
    const without = (entries: Entries, pattern: RegExp) => entries.filter(([name]) => !pattern.test(name));
    const replaced = (entries: Entries, wanted: string, content: Entries[number][1]) =>
      entries.map(([name, old]): Entries[number] => [name, name === wanted ? content : old]);
    const damaged = (entries: Entries, holding: string) =>
      entries.map(([name, old]): Entries[number] => [
        name,
        Buffer.isBuffer(old) && old.includes(holding) ? Buffer.concat([old, Buffer.from(' ')]) : old,
      ]);
    const manifest = (change: (entry: Record<string, unknown>) => void, entries = saved) => {
      const content = entries.find(([name]) => name === 'manifest.json')?.[1] as Buffer;
      const parsed = JSON.parse(content.toString()) as Record<string, unknown>[];
      for (const entry of parsed) change(entry);
      return replaced(entries, 'manifest.json', Buffer.from(JSON.stringify(parsed)));
    };
    const cases: Record<string, [Entries, RegExp]> = {
      'an empty archive': [[], /neither manifest.json nor index.json nor layers/],
      'any other archive': [[['etc/passwd', 'root']], /neither/],
      'one whose layer is missing': [without(saved, new RegExp(`^${layerName}$`)), /layer\.tar is missing/],
      'one whose configuration is missing': [without(saved, /^[0-9a-f]{64}\.json$/), /json is missing/],
      'one whose layer was changed': [replaced(saved, layerName, 'changed'), /does not match the image's configuration/],
      'one whose configuration was changed': [replaced(saved, configName, '{"rootfs":{"diff_ids":[]}}'), /does not match its name/],
      'one that lists a layer too many': [
        manifest((entry) => (entry['Layers'] = [layerName, ...(entry['Layers'] as [])])),
        /has 3 layers, but 4 are listed/,
      ],
      'one that names a file outside': [manifest((entry) => (entry['Config'] = '../../etc/passwd')), /passwd is missing/],
      'one with a name that is none': [manifest((entry) => (entry['RepoTags'] = ['-v/:/host'])), /no repository:tag/],
      'one whose manifest is not JSON': [replaced(saved, 'manifest.json', '[{'), /is not JSON/],
      'one whose manifest is no list': [replaced(saved, 'manifest.json', '{}'), /manifest\.json/],
      'one with files outside of it': [[...saved, ['../outside', 'x']], /it names a file \.\.\/outside/],
      'one with a file twice': [[...saved, ['manifest.json', '[]']], /twice/],
      'one whose links go in a circle': [
        [...without(saved, /^manifest/), ['manifest.json', { link: 'b' }], ['b', { link: 'manifest.json' }]],
        /repositories is missing/,
      ],
      'an OCI layout whose blob does not match its digest': [
        damaged(without(oci, /^manifest/), '"config":{"media'),
        /does not match its digest/,
      ],
      'one packed with zstd': [replaced(saved, layerName, Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0, 0])), /packed with zstd/],
      'an image for another system': [
        ((config) => savedWith(config))(Buffer.from(JSON.stringify({ os: 'windows', rootfs: { diff_ids: [] } }))),
        /another system than linux/,
      ],
      'a v1 layer whose parent is missing': [v1.filter(([name]) => !name.startsWith(v1[0]?.[0].slice(0, 64) ?? '')), /is missing/],
      'v1 layers that stand on each other': [
        replaced(v1, v1[2]?.[0] ?? '', JSON.stringify({ id: v1[2]?.[0].slice(0, 64), parent: top?.[0].slice(0, 64) })),
        /more|at most 127/,
      ],
      'a v1 layer under another’s id': [replaced(v1, top?.[0] ?? '', JSON.stringify({ id: 'f'.repeat(64) })), /belongs to the layer f/],
      'v1 names of what is not there': [
        replaced(v1, 'repositories', JSON.stringify({ a: { b: 'f'.repeat(64) } })),
        /names a layer that is missing/,
      ],
      'an image of too many layers': [
        savedBy20({ ...image, layers: Array.from({ length: 128 }, (_, index) => Buffer.from(`layer ${index}`)) }),
        /128 layers, at most 127/,
      ],
    };
    for (const [what, [entries, about]] of Object.entries(cases))
      it(what, () => assert.rejects(convert(entries), (error) => refused(error, 'archive.invalid', about)));

    it('an archive that is cut off anywhere, unless the image is complete', async () => {
      for (const entries of [saved, v1, savedBy25({ ...image, gzip: true })]) {
        const whole = await tarOf(entries);
        const expected = (await convert(whole)).bytes;
        const cuts = [...Array.from({ length: Math.ceil(whole.length / 997) }, (_, index) => 1 + index * 997), ...entryStarts(whole)];
        let survived = 0;
        for (const at of cuts) {
          const outcome = await convert(whole.subarray(0, at)).catch((error: unknown) => refused(error, 'archive.invalid', /./));
          if (outcome === true) continue;
          survived += 1;
          assert.ok(outcome.bytes.equals(expected), `cut at ${at} of ${whole.length}`);
        }
        assert.ok(survived <= 4, 'cut in the mark of the end, or before what only names the layout');
      }
    });

    it('random bytes', () =>
      fc.assert(
        fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 4_000 }), (bytes) =>
          assert.rejects(convert(Buffer.from(bytes)), (error) => refused(error, 'archive.invalid', /./)),
        ),
        { numRuns: 100 },
      ));

    it('more bytes or entries than allowed, counted after unpacking', async () => {
      const bomb = gzipSync(Buffer.alloc(20_000_000));
      const archive = async (entries: Entries) => Readable.from([await tarOf(entries)]);
      const tooLarge = (error: unknown) => refused(error, 'archive.too_large', /has more than/);
      await assert.rejects(toV1Archive(await archive([['a', bomb]]), { bounds: { bytes: 1_000_000, entries: 10 } }), tooLarge);
      await assert.rejects(toV1Archive(await archive([['a', Buffer.alloc(2_000)]]), { bounds: { bytes: 1_000, entries: 10 } }), tooLarge);
      await assert.rejects(toV1Archive(await archive(saved), { bounds: { bytes: 1e9, entries: 3 } }), tooLarge);
    });
  });

  it('fail with the error of their source, or with the reason of the abort', async () => {
    const whole = await tarOf(savedBy20(image));
    const broken = new Error('the connection broke');
    const source = Readable.from(
      (async function* () {
        yield whole.subarray(0, 5_000);
        throw broken;
      })(),
    );
    await assert.rejects(toV1Archive(source), broken);
    const cancel = new AbortController();
    const stopped = new Error('stopped');
    const endless = Readable.from(
      (async function* () {
        yield whole.subarray(0, 5_000);
        cancel.abort(stopped);
        await new Promise(() => undefined);
      })(),
    );
    await assert.rejects(toV1Archive(endless, { signal: cancel.signal }), stopped);
    assert.ok(endless.destroyed);
  });
});

function refused(error: unknown, code: string, about: RegExp): true {
  assert.ok(error instanceof KatafleetError, String(error));
  assert.equal(error.code, code);
  assert.match(error.message, about);
  return true;
}

/** An archive of one image without layers. */
function savedWith(config: Buffer): Entries {
  const name = `${sha256(config)}.json`;
  return [
    [name, config],
    ['manifest.json', JSON.stringify([{ Config: name, RepoTags: ['a:b'], Layers: [] }])],
  ];
}

/** Where the entries of a tar of small files begin. */
function entryStarts(archive: Buffer): number[] {
  const starts: number[] = [];
  for (let at = 0; archive[at]; at += 512 + Math.ceil(parseInt(archive.toString('latin1', at + 124, at + 135), 8) / 512) * 512)
    starts.push(at);
  return starts;
}
